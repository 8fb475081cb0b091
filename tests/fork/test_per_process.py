"""What a process has for itself is one object, also when several calls ask for it at the same time."""

from __future__ import annotations

import dataclasses
import os

from stomp_web._internal.per_process import PerProcess


@dataclasses.dataclass(eq=False)
class State:
    pid: int


def test_a_call_that_comes_while_the_object_is_made_gets_the_same_one():
    """Such as that of a signal handler or of a second thread, right after a fork."""
    found = []

    def make(pid: int) -> State:
        if not found:
            found.append(None)
            found[0] = states[os.getpid()]
        return State(pid)

    states = PerProcess(make)
    assert states[os.getpid()] is found[0]
    assert states[os.getpid()] is found[0]


def test_the_parent_s_object_is_left_once_and_is_not_the_child_s():
    left = []
    states = PerProcess(State, leave=left.append)
    parent = states[os.getpid()]
    child = states[parent.pid + 1]
    assert child is not parent
    assert states[parent.pid + 1] is child
    assert left == [parent]
