"""``console://`` in a child that was forked while another thread was printing: the child waited for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

#: Seconds after which a program counts as one that hangs.
PATIENCE = 150.0

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

# A thread prints into a pipe that nobody reads, so that it is in the middle of a text, with whatever it holds, when the
# children are forked. They print to a pipe of their own, by the same stream: its descriptor is replaced.
PROGRAM = """
import json, multiprocessing, os, signal, sys, threading
from stomp_web import Publisher

publisher = Publisher("console://")
reader, writer = os.pipe()
answers = os.dup(1)
os.dup2(writer, 1)

def print_without_end():
    while True:
        publisher.send("/queue/parent", "x" * 500_000)

threading.Thread(target=print_without_end, daemon=True).start()
while not os.read(reader, 1):  # it has begun, and the pipe takes no more than a part of the text
    pass

def child(number):
    signal.alarm(30)  # a child that hangs ends by this
    os.dup2(answers, 1)
    publisher.send("/queue/child", number)

outcomes = []
for number in range(3):
    pid = os.fork()
    if not pid:
        child(number)
        os._exit(0)
    outcomes.append(os.waitpid(pid, 0)[1])
process = multiprocessing.get_context("fork").Process(target=child, args=(3,))
process.start()
process.join()
outcomes.append(process.exitcode)
os.write(2, json.dumps(outcomes).encode())
os._exit(0)
"""


def test_the_child_prints_its_message_and_ends():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(PROGRAM)],
        capture_output=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert json.loads(done.stderr) == [0, 0, 0, 0]
    assert done.stdout.decode().count("SEND /queue/child") == 4


@pytest.mark.parametrize("options", [[], ["-u"]])
def test_two_threads_divide_no_text_and_what_was_printed_before_stands_before(options):
    program = """
    import threading
    from stomp_web import Publisher

    publisher = Publisher("console://")
    print("before", end=";")
    publisher.send("/queue/a", "first")
    threads = [threading.Thread(target=lambda: [publisher.send("/queue/a", "x" * 20_000) for _ in range(20)])
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    """
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout.startswith("before;SEND /queue/a\n")
    texts = done.stdout.removeprefix("before;").split("-" * 40 + "\n")
    assert len(texts) == 82
    assert {text.splitlines()[0] for text in texts[:-1]} == {"SEND /queue/a"}
    assert {text.splitlines()[-1] for text in texts[1:-1]} == {f'"{"x" * 20_000}"'}
