"""The fault suite: what is true of each message when something breaks, in time, and nothing left behind.

The rule that all of it checks: **confirmed = in the queue, exactly once; not confirmed = the caller got an exception of
the right class, in time.** `load` states it in code, `proxy` produces the faults between a client and any broker,
`resources` counts what might leak, `clock` says what "in time" means on a busy machine.

`pytest tests/faults --no-brokers` needs nothing but Python. `--faults=1000`, or the environment variable
STOMP_WEB_FAULTS, says how often each fault of `test_leaks` happens. The proof of the outbox (`test_outbox`, `proof`,
`orders`) and that of Django's tasks (`test_tasks`) have their full size with ``--faults=1250``.
"""
