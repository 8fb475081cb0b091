"""`Page`: what it serves, and what it costs the broker."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import socket
import subprocess
import sys
import threading
import tracemalloc
import typing
from pathlib import Path
from urllib.parse import quote

import pytest

from stomp_web import Publisher
from stomp_web.broker import Broker
from stomp_web.broker.page import Page
from tests.broker.wire import Wire
from tests.broker_page.asking import PATIENCE, Stream, ask, done, get, post
from tests.brokers.ports import free_ports
from tests.client.scripted import eventually


def descriptors() -> int:
    directory = Path("/proc/self/fd")
    return len(list(directory.iterdir())) if directory.is_dir() else 0


class TestLife:
    def test_it_serves_from_start_to_stop_and_both_can_be_called_twice(self, broker):
        page = Page(broker, port=free_ports(1)[0])
        page.stop()
        page.start()
        page.start()
        assert get(page, "/").status == 200
        port = page.port
        page.stop()
        page.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), PATIENCE)
        with page:
            assert page.port == port
            assert get(page, "/").status == 200

    def test_it_leaves_no_thread_and_no_descriptor(self, broker):
        with Page(broker) as page:
            get(page, "/")
        threads, before = threading.active_count(), descriptors()
        for _ in range(5):
            with Page(broker) as page, Stream(page) as stream, socket.create_connection(("127.0.0.1", page.port)):
                stream.next("state")
                get(page, "/")
                page.stop()
                with pytest.raises((EOFError, OSError)):
                    stream.state_with(lambda state: False)
        assert eventually(lambda: threading.active_count() <= threads, PATIENCE)
        gc.collect()
        assert descriptors() <= before

    def test_a_taken_port_is_an_error_that_names_it(self, broker, page):
        second = Page(broker, port=page.port)
        with pytest.raises(OSError, match=f"the page cannot listen on 127.0.0.1:{page.port}: Address already in use"):
            second.start()
        second.stop()

    def test_a_limit_below_1_is_refused(self, broker):
        with pytest.raises(ValueError, match="at least 1"):
            Page(broker, messages=0)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_forked_child_does_not_keep_the_port(self, broker):
        page = Page(broker, port=free_ports(1)[0])
        page.start()
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            ours.close()
            page.stop()  # does not wait for threads that the child does not have
            theirs.sendall(b"1")
            theirs.recv(1)  # until the parent has closed its end
            os._exit(0)
        try:
            ours.settimeout(PATIENCE)
            assert ours.recv(1) == b"1"
            assert get(page, "/").status == 200
            page.stop()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", page.port), PATIENCE)
        finally:
            ours.close()
            theirs.close()
            os.waitpid(child, 0)

    @pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
    def test_it_listens_on_ipv6(self, broker):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            pytest.skip(f"this machine has no IPv6: {error}")
        with Page(broker, "::1") as page:
            assert page.url == f"http://[::1]:{page.port}/"
            with socket.create_connection(("::1", page.port), PATIENCE) as sock:
                sock.sendall(f"GET / HTTP/1.1\r\nHost: [::1]:{page.port}\r\n\r\n".encode())
                assert sock.makefile("rb").readline().split()[1] == b"200"

    def test_the_broker_alone_does_not_import_it(self):
        code = "import sys, stomp_web.broker; print({'http.server', 'stomp_web.broker.page'} & set(sys.modules))"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


class TestFiles:
    @pytest.mark.parametrize(
        ("path", "kind", "start"),
        [
            ("/", "text/html; charset=utf-8", b"<!doctype html>"),
            ("/page.js", "text/javascript; charset=utf-8", b"//"),
            ("/page.css", "text/css; charset=utf-8", b"/*"),
            ("/favicon.svg", "image/svg+xml", b"<svg"),
        ],
    )
    def test_the_page_is_a_few_files(self, page, path, kind, start):
        answer = get(page, path)
        assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
        assert answer.body.startswith(start)

    def test_they_name_no_other_server(self, page):
        for path in ("/", "/page.js", "/page.css"):
            text = get(page, path).body.decode()
            assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
            assert "https://" not in text

    @pytest.mark.parametrize("path", ["/nothing", "/../server.py", "/%2e%2e/server.py", "/page.css/", "/messages/x"])
    def test_what_is_not_there_is_404(self, page, path):
        assert get(page, path).status == 404

    @pytest.mark.parametrize(
        "request_",
        [b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
         b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n"],
    )  # fmt: skip
    def test_a_malformed_request_is_an_answer_and_not_a_traceback(self, page, request_, capfd):
        with socket.create_connection(("127.0.0.1", page.port), PATIENCE) as sock:
            sock.sendall(request_)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while data := sock.recv(65_536):
                    answer += data
        assert b'{"error": ' in answer
        assert get(page, "/").status == 200
        assert capfd.readouterr().err == ""


class TestStream:
    def test_it_says_what_the_page_keeps_and_what_the_broker_is(self, broker):
        with Page(broker, messages=7, max_body=10) as page, Stream(page) as stream:
            hello = stream.next().data
        assert hello["limits"] == {"messages": 7, "body": 10}
        assert hello["address"] == broker.url
        assert hello["server"].startswith("stomp-web/")
        assert {"error", "delay", "freeze"} <= {fault["name"] for fault in hello["faults"]}

    def test_no_passcode_is_told(self):
        with Broker(login="ada", passcode="s3cret") as broker, Page(broker) as page, Publisher(broker.url) as publisher:
            publisher.send("/queue/a", 1)
            with Stream(page) as stream:
                hello = stream.next()
                state = stream.state_with(lambda state: state["clients"])
        assert state["clients"][0]["login"] == "ada"
        assert "s3cret" not in f"{hello}{state}"

    def test_a_message_appears_when_it_is_sent(self, broker, page):
        with Publisher(broker.url) as publisher, Stream(page) as stream:
            stream.next("state")
            publisher.send("/queue/orders", {"id": 7}, {"x-shop": "a"})
            message = stream.next("message").data
        assert message["destination"] == "/queue/orders"
        assert (message["kind"], message["preview"], message["size"]) == ("json", '{"id":7}', 8)
        detail = get(page, f"/messages/{message['number']}").json
        assert detail["text"] == '{\n  "id": 7\n}'
        assert ["x-shop", "a"] in detail["headers"]
        assert detail["raw"] == '{"id":7}'

    def test_messages_from_before_are_told_first_in_order(self, broker, page):
        for number in range(250):  # more than one step
            broker.send("/queue/a", str(number))
        with Stream(page) as stream:
            assert [each["preview"] for each in stream.messages(250)] == [str(number) for number in range(250)]

    def test_after_a_lost_connection_it_goes_on_where_it_was(self, broker, page):
        broker.send("/queue/a", "1")
        with Stream(page) as stream:
            assert stream.next().data["continues"] is False
            last = stream.next("message").id
        broker.send("/queue/a", "2")
        for options in ({"last": last}, {"query": f"?after={last}"}):
            with Stream(page, **options) as stream:
                assert stream.next().data["continues"] is True
                assert stream.next("message").data["preview"] == "2"

    @pytest.mark.parametrize("last", ["other-1", "1", "-", "x" * 1000, "{run}-x", "{run}--1", "{run}-" + "9" * 30])
    def test_an_id_of_another_run_begins_anew(self, broker, page, last):
        broker.send("/queue/a", "1")
        with Stream(page, last=last.format(run=page.run)) as stream:
            assert stream.next().data["continues"] is False
            assert stream.next("message").data["preview"] == "1"

    def test_what_was_forgotten_meanwhile_is_counted(self, broker):
        with Page(broker, messages=3) as page:
            broker.send("/queue/a", "1")
            with Stream(page) as stream:
                last = stream.next("message").id
            for number in range(2, 11):
                broker.send("/queue/a", str(number))
            with Stream(page, last=last) as stream:
                assert stream.next("gap").data == {"missed": 6}
                assert [each["preview"] for each in stream.messages(3)] == ["8", "9", "10"]

    def test_too_many_streams_are_refused(self, page):
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(Stream(page)) for _ in range(17)]
            assert [stream.status for stream in streams].count(200) == 16
            streams.sort(key=lambda stream: stream.status)
            assert streams[-1].status == 503
        assert eventually(lambda: free(page), PATIENCE)

    def test_too_many_connections_are_closed_and_later_ones_are_served(self, page):
        with contextlib.ExitStack() as stack:
            for _ in range(80):
                stack.enter_context(socket.create_connection(("127.0.0.1", page.port), PATIENCE))
        assert eventually(lambda: free(page), PATIENCE)


def free(page: Page) -> bool:
    """Whether the page answers a stream again."""
    try:
        with Stream(page) as stream:
            return stream.status == 200
    except OSError:
        return False


def numbers(stream: Stream) -> typing.Iterator[int]:
    while True:
        yield stream.next("message").data["number"]


class TestSearch:
    @pytest.fixture
    def found(self, broker, page):
        headers = {"content-type": "application/json"}
        broker.send("/queue/orders", '{"id": 1, "name": "M\\u00fcller"}', {**headers, "x-shop": "Berlin"})
        broker.send("/queue/orders", '{"id": 2}', headers)
        broker.send("/topic/orders.new", "free text, id 3")
        broker.send("/queue/blob", b"\x89PNG\0data")

        def search(text: str) -> list[int]:
            broker.send("/queue/end", text)  # every search finds this one, and it is the last
            with Stream(page, f"?text={quote(text)}") as stream:
                return list(itertools.takewhile(lambda number: number < 5, numbers(stream)))

        return search

    @pytest.mark.parametrize(
        ("text", "numbers"),
        [
            ("müller", [1]),
            ('"id":1', [1]),
            ('"id":  2', [2]),
            ("X-SHOP: berlin", [1]),
            ("PNG", [4]),
            ("free TEXT", [3]),
            ("Id", [1, 2, 3, 4]),  # the message ids, too
        ],
    )
    def test_it_finds_headers_and_bodies(self, found, text, numbers):
        assert found(text) == numbers

    def test_in_a_body_that_was_cut_white_space_does_not_count_either(self, broker, page):
        broker.send("/queue/orders", '{"id":  1, "name": "M\\u00fcller", "text": "' + 300_000 * "x" + '"}')
        with Stream(page, "?text=" + quote('"id":1')) as stream:
            assert next(numbers(stream)) == 1

    def test_a_search_by_destination_understands_wildcards(self, broker, page):
        broker.send("/topic/orders.new", "1")
        broker.send("/queue/orders.new", "2")
        broker.send("/topic/orders.old", "third")
        for query, previews in (
            ("?destination=/topic/orders.*", ["1", "third"]),
            ("?destination=/topic/orders.old", ["third"]),
            ("?destination=orders.new", ["2"]),
            ("?destination=/topic/%23&text=third", ["third"]),
            ("?text=/TOPIC/", ["1", "third"]),
        ):
            with Stream(page, query) as stream:
                assert [each["preview"] for each in stream.messages(len(previews))] == previews
                assert stream.next().name != "message"

    def test_new_messages_are_searched_too(self, broker, page):
        with Stream(page, "?text=right") as stream:
            stream.next("state")
            broker.send("/queue/a", "wrong")
            broker.send("/queue/a", "right")
            assert stream.next("message").data["preview"] == "right"

    def test_a_search_that_is_too_long_is_refused(self, page):
        assert get(page, "/events?text=" + "x" * 1001).status == 400


class TestState:
    def test_destinations_clients_and_their_subscriptions_are_counted(self, broker, page):
        with Wire(broker) as wire, Stream(page) as stream:
            wire.connect(login="ada", heart_beat="10000,20000")
            wire.put("/queue/a", b"1", b"2", b"3")
            wire.subscribe("/queue/a", "mine", "client", prefetch_count="2")
            state = stream.state_with(lambda state: state["destinations"] == [["/queue/a", 3, 1, 2, 1]])
            client = state["clients"][0]
            assert client["subscriptions"] == [["mine", "/queue/a", "client", 2, 2]]
            assert (client["login"], client["version"], client["connected"]) == ("ada", "1.2", True)
            assert client["heart_beat"] == [20000, 10000]
            assert client["address"] == "{}:{}".format(*wire.sock.getsockname())
            assert state["received"] == {"CONNECT": 1, "SEND": 3, "SUBSCRIBE": 1}
            wire.sock.close()
            stream.state_with(lambda state: state["clients"] == [])

    def test_long_lists_are_cut_and_say_so(self, broker, page):
        for number in range(1_010):
            broker.send(f"/topic/{number}", "")
        with Stream(page) as stream:
            state = stream.state_with(lambda state: len(state["destinations"]) == 1_000)
            assert state["more_destinations"] == 10

    def test_a_stopped_broker_is_seen_and_can_start_again(self, broker, page):
        with Stream(page) as stream:
            assert stream.next("state").data["running"] is True
            broker.stop()
            stream.state_with(lambda state: not state["running"])
            answer = post(page, "/fault", {"name": "freeze"})
            assert (answer.status, answer.json) == (400, {"error": "the broker does not run"})
            broker.start()
            stream.state_with(lambda state: state["running"] and state["listening"])


class TestBounds:
    def test_only_the_latest_messages_and_the_start_of_each_body_are_kept(self, broker):
        with Page(broker, messages=3, max_body=4) as page:
            for number in range(5):
                broker.send("/queue/a", f"{number} long body")
            with Stream(page) as stream:
                messages = stream.messages(3)
            assert [each["number"] for each in messages] == [3, 4, 5]
            assert messages[0]["size"] == 11
            detail = get(page, "/messages/3").json
            assert (detail["text"], detail["kept"], detail["size"], detail["raw"]) == ("2 lo", 4, 11, None)
            assert get(page, "/messages/2").status == 404
            answer = post(page, "/send-again", {"number": 3})
            assert (answer.status, answer.json["error"][:20]) == (409, "only 4 of the 11 byt")

    def test_large_bodies_take_no_memory_when_the_broker_has_forgotten_them(self):
        with Broker(history=1_000_000) as broker, Page(broker, messages=100) as page, Wire(broker) as wire:
            wire.connect()
            tracemalloc.start()
            try:
                wire.put("/topic/a", *[b"x" * 1_000_000] * 100)
                kept = tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()
            assert len(page.after(0, 1_000)) == 100
            assert kept < 30_000_000

    def test_a_browser_that_does_not_read_slows_neither_the_broker_nor_another_browser(self, broker, page):
        with Stream(page, receive_buffer=4096) as lazy, Stream(page) as quick, Publisher(broker.url) as publisher:
            lazy.next("hello")
            quick.next("state")
            for number in range(2_000):
                publisher.send("/topic/a", {"number": number, "filler": "x" * 2_000})
            assert broker.received("SEND") == 2_000
            while quick.next("message").data["number"] < 2_000:
                pass


class TestSend:
    def test_a_subscriber_gets_what_is_sent_by_hand(self, broker, page):
        with Wire(broker) as wire:
            wire.connect()
            wire.subscribe("/queue/a")
            headers = [["content-type", "text/plain"], ["x", "first"], ["x", "second"]]
            said = done(page, "/send", {"destination": "/queue/a", "headers": headers, "body": "grüße"})
            frame = wire.receive()
        assert frame.body == "grüße".encode()
        assert frame.headers["x"] == "first"
        assert said == f"Sent to /queue/a as {frame.headers['message-id']}."

    @pytest.mark.parametrize("body", [b'{"id":7}', b"\x80\0\xff", "grüße", b"\xff"])
    def test_a_message_is_sent_again_as_it_was(self, broker, page, body):
        broker.send("/queue/a", body, {"x-message-id": "1", "priority": "3"})
        number = page.after(0, 1)[0].number
        assert done(page, "/send-again", {"number": number}).startswith("Sent again to /queue/a as ID:")
        first, second = broker.messages("/queue/a")
        assert second.body == first.body
        assert first.headers | {"message-id": ""} == second.headers | {"message-id": ""}
        assert first.headers["message-id"] != second.headers["message-id"]

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"destination": "/bogus/a"}, "'/bogus/a' is not a valid destination"),
            ({"destination": ""}, "name a destination"),
            ({"body": "x"}, "must be texts"),
            ({"destination": "/queue/a", "body": 1}, "must be texts"),
            ({"destination": "/queue/a", "headers": {"a": "b"}}, "must be texts"),
            ({"destination": "/queue/a", "headers": [["a", 1]]}, "must be texts"),
            ({"destination": "/queue/a", "headers": [["receipt", "1"]]}, "'receipt' has no meaning"),
            ({"destination": "/queue/a", "headers": [["a", "\ud800"]]}, "UTF-8"),
            ({"destination": "/queue/a", "body": "\ud800"}, "surrogate"),
            ([], "not a JSON object"),
            (b"{", "not JSON"),
            (b"[" * 100_000, "not JSON"),
        ],
    )
    def test_a_mistake_is_a_clear_error(self, broker, page, given, words):
        answer = post(page, "/send", given)
        assert answer.status == 400
        assert words in answer.json["error"]
        assert not broker.destinations()

    def test_a_request_needs_a_length_and_has_a_limit(self, page):
        kind = {"Content_Type": "application/json"}
        assert ask(page, "POST", "/send", **kind).status == 411
        assert ask(page, "POST", "/send", Content_Length="-1", **kind).status == 411
        assert ask(page, "POST", "/send", Content_Length="9999999", **kind).status == 413

    def test_all_messages_can_be_dropped(self, broker, page):
        broker.send("/queue/a", "1")
        with Stream(page) as stream:
            stream.next("state")
            assert done(page, "/forget", {}) == "All messages are dropped."
            stream.next("forget")
            assert broker.pending("/queue/a") == []
            broker.send("/queue/a", "2")
            assert stream.next("message").data["preview"] == "2"
