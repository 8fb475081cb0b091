"""The rule under a load of many threads, while the proxy does all that it can."""

from __future__ import annotations

import random
import threading
import typing

import pytest

from stomp_web import ConnectionLost, NotSent, Publisher, Rejected
from stomp_web.broker import Broker
from tests.brokers.running import PATIENCE
from tests.faults.load import CONFIRMED, Call, Load, check_rule, ids_in
from tests.faults.proxy import DOWN, UP, Proxy
from tests.faults.resources import holding, unchanged

Open = typing.Callable[..., Publisher]

FAULTS: tuple[typing.Callable[[Proxy, Broker], object], ...] = (
    lambda proxy, _: proxy.cut(),
    lambda proxy, _: proxy.cut(reset=True),
    lambda proxy, _: proxy.on_frame("SEND", "cut", times=3),
    lambda proxy, _: proxy.on_frame("SEND", "cut", forward=False, times=3),
    lambda proxy, _: proxy.on_frame("SEND", "reset", times=3),
    lambda proxy, _: proxy.on_frame("RECEIPT", "reset", way=DOWN, forward=False, times=3),
    lambda proxy, _: proxy.on_frame("SEND", "freeze", times=2),
    lambda proxy, _: proxy.on_frame("RECEIPT", "swallow", way=DOWN, forward=False, times=2),
    lambda proxy, _: proxy.on_bytes(150, "reset"),
    lambda proxy, _: proxy.on_bytes(70, "cut", way=DOWN),
    lambda proxy, _: proxy.refuse(times=2),
    lambda proxy, _: proxy.delay(0.01, UP, DOWN),
    lambda proxy, _: proxy.dribble(DOWN),
    lambda _, local: local.faults.error(times=3),
    lambda _, local: local.faults.error(close=False, receipt_id=False, times=3),
    lambda _, local: local.faults.close_before_receipt(times=3),
    lambda _, local: local.faults.garbage(times=2),
    lambda _, local: local.faults.duplicate_receipt(times=5),
    lambda _, local: local.faults.beats_before_answer(count=3, times=5),
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("resend", [False, True], ids=["once", "at least once"])
def test_the_rule_holds_whatever_the_network_and_the_broker_do(
    local: Broker, proxy: Proxy, queue: str, open_publisher: Open, resend: bool
):
    publisher = open_publisher(proxy.url, timeout=0.5, resend_unknown=resend)
    before = holding()
    # Otherwise nothing was tested.
    wanted = {CONFIRMED, "Rejected"} if resend else {CONFIRMED, "Rejected", "DeliveryUnknown"}
    load = Load(publisher, queue, threads=16, pause=0.05)
    over = threading.Event()
    seed = 20261123
    order = random.Random(seed)

    def disturb() -> None:
        while not over.is_set():
            for fault in order.sample(FAULTS, len(FAULTS)):
                fault(proxy, local)
                over.wait(0.01)
                proxy.clear()
                local.faults.clear()

    troublemaker = threading.Thread(target=disturb, daemon=True)
    with load.running():
        troublemaker.start()
        assert load.wait_for(lambda load: len(load.calls) >= 960 and wanted <= set(load.counts), timeout=PATIENCE)
        load.stop()
        over.set()
        troublemaker.join(60)
        assert not troublemaker.is_alive()
    proxy.cut()
    assert local.wait_until(lambda: local.connections == 0)
    load.check(ids_in(local.messages(queue)), resent=resend)
    publisher.check()
    publisher.close()
    proxy.cut()
    unchanged(before)


def test_the_rule_finds_what_is_wrong():
    def call(outcome: str) -> Call:
        return Call("1", outcome, None, 0.1)

    check_rule([call(CONFIRMED)], ["1"])
    check_rule([call(CONFIRMED)], ["1", "1"], resent=True)
    check_rule([call("DeliveryUnknown")], [])
    check_rule([call("DeliveryUnknown")], ["1"])
    check_rule([call("NotSent")], [])
    for outcome, found in (
        (CONFIRMED, []),
        (CONFIRMED, ["1", "1"]),
        ("NotSent", ["1"]),
        ("Rejected", ["1"]),
        ("DeliveryUnknown", ["1", "1"]),
        ("KeyError()", []),
    ):
        with pytest.raises(AssertionError, match="1 outcomes are wrong"):
            check_rule([call(outcome)], found)
    with pytest.raises(AssertionError, match="nobody sent"):
        check_rule([call(CONFIRMED)], ["1", "2"])


def test_the_load_notes_each_outcome(local: Broker, queue: str, open_publisher: Open):
    publisher = open_publisher(local.url)
    local.faults.error(after=1)
    local.faults.close_before_receipt(after=1)
    load = Load(publisher, queue, threads=1, sends=4)
    with load.running():
        pass
    assert [call.outcome for call in load.calls] == [CONFIRMED, "Rejected", "DeliveryUnknown", CONFIRMED]
    assert isinstance(load.calls[1].error, Rejected)
    assert isinstance(load.calls[2].error, ConnectionLost)
    local.stop()
    load = Load(publisher, queue, threads=2, sends=1)
    with load.running():
        pass
    assert all(isinstance(call.error, NotSent) for call in load.calls)
