"""What `import stomp_web` gives, and what it does not bring along."""

from __future__ import annotations

import os
import subprocess
import sys

import stomp_web


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    return done.stdout.strip()


def test_every_public_name_is_there():
    for name in stomp_web.__all__:
        assert hasattr(stomp_web, name)


def test_the_core_has_the_names_of_its_contract():
    wanted = "Frame FrameBuffer Message PublishClient PublishClientPool Publisher QueueingDuplexClient"
    assert {*wanted.split(), "PublishSubscribeClient", "StompError"} <= set(stomp_web.__all__)


def test_importing_the_core_loads_only_the_standard_library():
    others = run(
        "import sys; before = set(sys.modules); import stomp_web; "
        "tops = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(*sorted(tops - sys.stdlib_module_names - {'stomp_web'}))"
    )
    assert others == ""


def test_importing_the_core_does_not_load_what_few_need():
    few = {"ssl", "asyncio", "stomp_web.broker", "stomp_web.testing"}
    if sys.version_info >= (3, 11):
        few.add("subprocess")  # in 3.10 the standard library's uuid loads it
    assert run(f"import sys, stomp_web; print(*{few} & set(sys.modules))") == ""


def test_importing_and_making_a_publisher_starts_no_thread_and_opens_no_socket():
    assert (
        run(
            "import threading, socket\n"
            "def never(*args, **kwargs): raise AssertionError('a socket was opened')\n"
            "import stomp_web\n"
            "socket.socket.__init__ = never\n"
            "stomp_web.Publisher('stomp://localhost:1'); stomp_web.PublishClientPool('stomp://localhost:1')\n"
            "stomp_web.PublishClient(); stomp_web.QueueingDuplexClient(); stomp_web.PublishSubscribeClient()\n"
            "print(threading.active_count())"
        )
        == "1"
    )


def test_the_library_is_silent_unless_logging_was_set_up():
    done = subprocess.run(
        [sys.executable, "-c", "import logging, stomp_web; logging.getLogger('stomp_web.client').error('loud')"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout + done.stderr == ""
