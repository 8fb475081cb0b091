from __future__ import annotations

import os

import pytest

from stomp_web.outbox.turn import FileTurn

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "shop.db")


def test_one_has_the_turn_at_a_time(path):
    first, second = FileTurn(path), FileTurn(path)
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


def test_a_child_that_was_forked_meanwhile_does_not_keep_the_turn(path):
    turn = FileTurn(path)
    assert turn.acquire()
    end, wait = os.pipe()
    child = os.fork()
    if child == 0:  # it lives on, with a copy of the open file
        os.close(wait)
        os.read(end, 1)
        os._exit(0)
    try:
        turn.release()
        assert FileTurn(path).acquire()
    finally:
        os.close(wait)
        os.waitpid(child, 0)
        os.close(end)


def test_a_child_may_have_the_turn_after_its_parent(path):
    turn = FileTurn(path)
    assert turn.acquire()
    asked, answer = os.pipe()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(asked, 1)
        os.write(tell, b"1" if FileTurn(path).acquire() else b"0")
        os._exit(0)
    turn.release()
    os.write(answer, b"1")
    assert os.read(told, 1) == b"1"
    os.waitpid(child, 0)
    for descriptor in (asked, answer, told, tell):
        os.close(descriptor)
