"""Other web pages get nothing from the page, and have no effect on the broker."""

from __future__ import annotations

import socket

import pytest

from stomp_web.broker.page import Page
from tests.broker_page.asking import PATIENCE, Stream, ask, done, get, post

MESSAGE = {"destination": "/queue/a", "body": "x"}
PATHS = ("/", "/page.js", "/page.css", "/favicon.svg", "/events", "/messages/1")


class TestHost:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
    def test_a_name_of_this_machine_is_answered_with_any_port(self, page, host):
        for port in ("", f":{page.port}", ":9000"):  # a forwarded port has another number
            assert get(page, "/", Host=host + port).status == 200

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize(
        "host",
        ["evil.example", "evil.example:8161", "127.0.0.1.evil.example", "localhost@evil.example",
         "evil.example/127.0.0.1", "10.0.0.1", "", "[::1", "localhost#", "localhost.evil.example",
         "127.0.0.1 evil.example"],
    )  # fmt: skip
    def test_another_name_is_refused(self, page, host, path):
        answer = get(page, path, Host=host)
        assert answer.status == 403
        assert "use its address" in answer.json["error"]

    def test_no_host_and_two_hosts_are_refused(self, page):
        for lines in ("", "Host: localhost\r\nHost: evil.example\r\n"):
            with socket.create_connection(("127.0.0.1", page.port), PATIENCE) as sock:
                sock.sendall(f"GET / HTTP/1.1\r\n{lines}\r\n".encode())
                assert sock.makefile("rb").readline().split()[1] == b"403"

    def test_a_post_is_refused_like_a_get(self, page, broker):
        assert post(page, "/send", MESSAGE, Host="evil.example").status == 403
        assert not broker.destinations()

    def test_on_all_addresses_every_address_is_answered_but_no_foreign_name(self, broker):
        with Page(broker, "0.0.0.0") as page:
            for host in ("127.0.0.1", "192.168.1.5", "[fe80::1]", "localhost", socket.gethostname()):
                assert get(page, "/", Host=f"{host}:{page.port}").status == 200
            assert get(page, "/", Host="evil.example").status == 403


class TestOtherPages:
    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "http://evil.example"},
            {"Origin": "http://localhost:3000"},
            {"Origin": "null"},
            {"Origin": "https://127.0.0.1:{port}"},
            {"Origin": "http://127.0.0.1:{port}.evil.example"},
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
            {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"},
        ],
    )
    def test_a_post_of_another_page_has_no_effect(self, page, broker, headers):
        headers = {name: value.format(port=page.port) for name, value in headers.items()}
        answer = post(page, "/send", MESSAGE, **headers)
        assert answer.status == 403
        assert "another web page" in answer.json["error"]
        assert not broker.destinations()

    @pytest.mark.parametrize(
        "content_type",
        [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain;application/json"],
    )
    def test_a_post_that_a_form_or_a_simple_request_can_send_has_no_effect(self, page, broker, content_type):
        answer = post(page, "/send", MESSAGE, Content_Type=content_type)
        assert answer.status == 403
        assert "application/json" in answer.json["error"]
        assert not broker.destinations()

    def test_no_other_page_gets_permission(self, page):
        answer = ask(page, "OPTIONS", "/send", Origin="http://evil.example", Access_Control_Request_Method="POST")
        assert answer.status == 501
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]

    @pytest.mark.parametrize("path", PATHS)
    def test_another_page_reads_nothing(self, page, path):
        assert get(page, path, Origin="http://evil.example").status == 403
        assert get(page, path, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").status == 403
        assert get(page, path, Sec_Fetch_Site="same-site").status == 403

    def test_another_page_may_have_a_link_to_the_page_but_no_frame_of_it(self, page):
        link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
        assert get(page, "/", Sec_Fetch_Dest="document", **link).status == 200
        assert get(page, "/", Sec_Fetch_Dest="iframe", **link).status == 403
        assert get(page, "/messages/1", Sec_Fetch_Dest="document", **link).status == 403

    def test_its_own_script_and_a_program_may_post(self, page):
        own = {"Origin": f"http://127.0.0.1:{page.port}", "Sec_Fetch_Site": "same-origin"}
        assert post(page, "/send", MESSAGE, **own).status == 200
        assert post(page, "/send", MESSAGE).status == 200


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/favicon.svg", "/nothing", "/messages/1"])
def test_every_answer_has_the_headers_that_protect_it(page, path):
    done(page, "/send", MESSAGE)
    answer = get(page, path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Server"] == "stomp-web"


def test_a_message_cannot_forge_an_event(page, broker):
    text = "\n\nevent: state\ndata: {}\n\n\r\u2028"
    broker.send("/queue/a", text, {"x": text})
    with Stream(page) as stream:
        names = [stream.next().name for _ in range(3)]
    assert names == ["hello", "message", "state"]
