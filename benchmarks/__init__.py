"""Side by side: stomp-web, its peers, and what the machine can do at all. ``python -m benchmarks`` runs it.

The rules of this house, which every room keeps:

* Only ratios within one run mean anything. So a contender is never measured alone: the limit (the same work done with a
  bare socket and ready bytes, or a parser without checks) takes part in every table, and all take turns, A B C, C B A.
* Nothing is lost. What a contender says it has sent is compared with what the sink, a process of its own, has counted,
  after each run. A difference is an error of the run, and the exit code says so.
* A run is over when everything has arrived: the receipt of the last message is awaited inside the measured time.
* Each contender lives in a process of its own, and so does the sink: no import, no garbage and no lock of one touches
  another.

From the ground up: `frames` (bytes) and `sink` (the process that takes them); `outcome` and `case` (what a run is and
what came of it); `contenders` (who takes part) inside `contender` (their process); `children`, `bench` and `rounds`
(who drives them); `tables` (what is measured); `results`, `goals`, `markdown`, `picture` (what is told);
`command_line`.
"""
