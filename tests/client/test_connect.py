"""CONNECT and what answers it: versions, credentials, virtual hosts, brokers that are not there or do not answer."""

from __future__ import annotations

import logging
import socket
import threading

import pytest

from stomp_web import AuthenticationFailed, BrokerUnavailable, ConfigurationError, PublishClient, StompError
from stomp_web.broker import Broker
from stomp_web.protocol import Frame, encode
from tests.brokers.ports import free_ports

SECRET = "s3cret-passc0de"


def connects_to(broker: Broker) -> dict[str, str]:
    return broker.connects[-1].headers


class TestHandshake:
    def test_it_returns_the_connected_frame(self, client, broker):
        frame = client.connect()
        assert frame.command == "CONNECTED"
        assert (client.version, client.session) == (frame.headers["version"], frame.headers["session"])
        assert client.server == frame.headers["server"]
        assert client.connected

    def test_a_client_is_not_connected_before(self, client, broker):
        assert not client.connected
        assert (client.version, client.session, client.server) == (None, None, None)
        assert broker.connections_accepted == 0

    def test_connecting_again_stays_connected_and_returns_the_same_frame(self, client, broker):
        assert client.connect() is client.connect()
        assert broker.connections_accepted == 1

    @pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
    def test_each_version_is_negotiated_and_delivers(self, version):
        with Broker(versions=(version,)) as broker, PublishClient(*broker.address, confirm=True) as client:
            assert client.version == version
            client.send("/queue/a", b"a\0b", {"name": "value"})
            (frame,) = broker.messages("/queue/a")
            assert (frame.body, frame.headers["name"]) == (b"a\0b", "value")
            assert connects_to(broker)["accept-version"] == "1.0,1.1,1.2"

    @pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
    def test_only_the_wanted_versions_are_offered(self, broker, version):
        with PublishClient(*broker.address, versions=(version,)) as client:
            assert client.version == version
        assert connects_to(broker)["accept-version"] == version

    def test_a_server_that_names_no_version_speaks_1_0(self, open_client):
        client = open_client(lambda peer: (peer.accept(version=None), peer.serve()))
        client.connect()
        assert (client.version, client.server, client.session) == ("1.0", None, None)

    def test_no_common_version_is_told_in_the_broker_s_words(self):
        with Broker(versions=("1.1",)) as broker, pytest.raises(BrokerUnavailable, match=r"Supported versions are 1.1"):
            PublishClient(*broker.address, versions=("1.2",)).connect()

    @pytest.mark.parametrize("version", ["1.3", "1.1", "", "1.2 "])
    def test_a_version_that_was_not_offered_is_refused(self, open_client, version):
        client = open_client(
            lambda peer: (peer.expect("CONNECT"), peer.write(b"CONNECTED\nversion:%b\n\n\0" % version.encode())),
            versions=("1.0", "1.2"),
        )
        with pytest.raises(BrokerUnavailable, match="not offered"):
            client.connect()
        assert not client.connected

    def test_the_host_header_is_a_slash_unless_a_virtual_host_is_given(self, broker):
        with PublishClient(*broker.address):
            assert connects_to(broker)["host"] == "/"

    def test_no_credentials_are_sent_unless_they_are_given(self, client, broker):
        client.connect()
        assert not {"login", "passcode"} & set(connects_to(broker))

    def test_more_headers_can_be_sent(self, broker):
        with PublishClient(*broker.address, connect_headers={"client-id": "me"}):
            assert connects_to(broker)["client-id"] == "me"

    def test_connected_may_come_byte_by_byte_after_heart_beats(self, open_client):
        def script(peer):
            peer.expect("CONNECT")
            peer.dribble(b"\n\n\nCONNECTED\nversion:1.2\nserver:slow\n\n\0\n\n")
            peer.serve()

        client = open_client(script, confirm=True)
        client.connect()
        assert client.server == "slow"
        client.send("/queue/a", b"")

    def test_the_session_s_raw_colons_of_activemq_are_understood(self, open_client):
        client = open_client(
            lambda peer: (
                peer.expect("CONNECT"),
                peer.write(
                    b"CONNECTED\nserver:ActiveMQ/5.17.2\nheart-beat:0,0\nsession:ID:vm-1:6\nversion:1.2\n\n\0\n"
                ),
            )
        )
        client.connect()
        assert client.session == "ID:vm-1:6"

    def test_connect_comes_before_send_on_every_connection(self, serve):
        seen = []

        def script(peer):
            peer.accept()
            frame = peer.expect("SEND")
            seen.append(frame.body)
            peer.receipt(frame)

        client = PublishClient("127.0.0.1", serve(script).port, confirm=True, timeout=60)
        for number in range(3):
            client.send("/queue/a", str(number))
            client.close()
        assert seen == [b"0", b"1", b"2"]

    def test_credentials_given_to_connect_are_used_for_every_later_connection(self):
        with Broker(login="user", passcode=SECRET) as broker:
            client = PublishClient(*broker.address, confirm=True)
            client.connect("user", SECRET, {"client-id": "me"})
            client.close()
            client.send("/queue/a", b"")
            client.close()
            assert connects_to(broker)["client-id"] == "me"
            assert broker.connections_accepted == 2

    def test_connecting_with_other_credentials_connects_anew(self, client, broker):
        client.connect()
        client.connect("other", SECRET)
        assert connects_to(broker)["login"] == "other"
        assert broker.connections_accepted == 2

    def test_bad_headers_given_to_connect_are_refused_and_forgotten(self, client, broker):
        for arguments in ({"headers": {"a": "b\nc"}}, {"headers": {"host": "x"}}, {"login": "a\nb"}, {"passcode": 5}):
            with pytest.raises(StompError) as failure:
                client.connect(**arguments)
            assert isinstance(failure.value, ValueError)
        assert broker.connections_accepted == 0
        client.connect()
        assert broker.received("CONNECT") == 1

    def test_a_connection_tells_the_log_whom_it_reached(self, client, caplog):
        with caplog.at_level(logging.INFO, "stomp_web.client"):
            client.connect()
        assert "connected to stomp://127.0.0.1" in caplog.text


class TestRefusals:
    def test_a_wrong_passcode_fails_in_the_broker_s_words_and_without_the_passcode(self, caplog):
        with Broker(login="user", passcode="right") as broker, caplog.at_level(logging.DEBUG):
            client = PublishClient(*broker.address, login="user", passcode=SECRET)
            with pytest.raises(AuthenticationFailed, match="Access refused for user 'user'") as failure:
                client.send("/queue/a", b"x")
            error = failure.value
            assert error.frame is not None
            assert (error.broker, error.destination) == (f"stomp://127.0.0.1:{broker.port}", "/queue/a")
            assert broker.received("SEND") == 0
            assert not client.connected
            said = caplog.text + str(error) + repr(error) + repr(vars(error)) + repr(client) + repr(client.__dict__)
            assert SECRET not in said

    def test_missing_credentials_fail_the_same_way(self):
        with Broker(login="user", passcode="right") as broker, pytest.raises(AuthenticationFailed, match="required"):
            PublishClient(*broker.address).connect()

    def test_a_virtual_host_that_does_not_exist_fails_the_same_way(self, broker):
        with pytest.raises(AuthenticationFailed, match="Virtual host 'nowhere' access denied"):
            PublishClient(*broker.address, vhost="nowhere").connect()

    @pytest.mark.parametrize(
        ("message", "body"),
        [
            ("Bad CONNECT", "Access refused for user 'guest'\n"),
            ("Bad CONNECT", "Virtual host 'localhost' access denied"),
            ("Bad CONNECT", "Missing login or passcode header(s)"),
            ("User name [guest] or password is invalid.", "User name [guest] or password is invalid."),
            ("Authentication failed for guest", "Authentication failed for guest"),
            ("Security Error occurred: AMQ229031: Unable to validate user", ""),
        ],
    )
    def test_the_words_of_real_brokers_are_recognized(self, open_client, message, body):
        client = open_client(lambda peer: (peer.expect("CONNECT"), peer.error(message, body), peer.wait_for_end()))
        with pytest.raises(AuthenticationFailed) as failure:
            client.connect()
        assert (body.strip() or message) in str(failure.value)

    def test_any_other_error_means_unavailable_in_the_broker_s_words(self, open_client):
        client = open_client(
            lambda peer: (peer.expect("CONNECT"), peer.error("Too many connections", "try later\nat java.lang"))
        )
        with pytest.raises(BrokerUnavailable, match="Too many connections: try later") as failure:
            client.connect()
        assert failure.value.frame.command == "ERROR"
        assert "java" not in str(failure.value)

    def test_nobody_at_the_address_names_the_address_and_says_what_to_do(self):
        (port,) = free_ports(1)
        client = PublishClient("127.0.0.1", port)
        with pytest.raises(BrokerUnavailable, match="connection refused") as failure:
            client.send("/queue/a", b"", {"x-message-id": "id-1"})
        assert f"stomp://127.0.0.1:{port}" in str(failure.value)
        assert "nothing was sent" in str(failure.value)
        assert "running" in str(failure.value)
        assert (failure.value.destination, failure.value.message_id) == ("/queue/a", "id-1")

    @pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 300, "a..b", "a\0b", "\udcff"])
    def test_a_host_that_cannot_be_found_is_unavailable(self, host):
        with pytest.raises(BrokerUnavailable, match="cannot be found"):
            PublishClient(host).connect()

    def test_a_server_that_never_answers_costs_only_the_time_that_was_given(self, broker):
        broker.faults.mute("CONNECT", times=None)
        client = PublishClient(*broker.address, connect_timeout=0.05)
        with pytest.raises(BrokerUnavailable, match="did not answer in time") as failure:
            client.connect()
        assert "0.05 s" in str(failure.value)
        with pytest.raises(BrokerUnavailable, match="did not answer"):
            PublishClient(*broker.address).send("/queue/a", b"", timeout=0.05)
        assert broker.received("SEND") == 0

    def test_a_server_that_answers_too_slowly_costs_only_the_time_that_was_given(self, open_client):
        gone = threading.Event()

        def script(peer):
            peer.expect("CONNECT")
            while not gone.wait(0.01):
                peer.write(b"\n")

        client = open_client(script, connect_timeout=0.1)
        with pytest.raises(BrokerUnavailable, match="in time"):
            client.connect()
        gone.set()

    @pytest.mark.parametrize("ending", ["close", "reset"])
    def test_a_server_that_hangs_up_is_unavailable(self, broker, ending):
        broker.faults.refuse(reset=ending == "reset")
        with pytest.raises(BrokerUnavailable, match=r"closed the connection|reset the connection"):
            PublishClient(*broker.address).connect()

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"\x15\x03\x03\x00\x02\x02\n",
            b"\x00",
            b"CONNECTED\nversion\n\n\0",
            b"CONNECTED\nversion:1.2\nheart-beat:often\n\n\0",
            b"CONNECTED\nversion:1.2\ncontent-length:9999999\n\n\0",
            encode(Frame("RECEIPT", {"receipt-id": "1"})),
            b"x" * 100_000,
            b"CONNECTED\n" + b"a:b\n" * 30_000,
        ],
    )
    def test_an_answer_that_is_no_connected_is_unavailable(self, open_client, answer):
        client = open_client(lambda peer: (peer.expect("CONNECT"), peer.write(answer), peer.wait_for_end()))
        with pytest.raises(BrokerUnavailable, match="nothing was sent"):
            client.connect()
        assert not client.connected

    def test_the_broker_s_certificate_alert_hints_at_tls(self, open_client):
        client = open_client(lambda peer: (peer.expect("CONNECT"), peer.write(b"\x15\x03\x03\x00\x02\x02\n")))
        with pytest.raises(BrokerUnavailable, match=r"stomp\+ssl"):
            client.connect()

    def test_after_a_failure_the_next_connect_may_succeed(self, broker, client):
        broker.faults.refuse()
        with pytest.raises(BrokerUnavailable):
            client.connect()
        client.connect()


class TestSeveralBrokers:
    def test_the_first_that_accepts_is_used_and_remembered(self, broker):
        (port,) = free_ports(1)
        url = f"stomp://127.0.0.1:{port},127.0.0.1:{broker.port}"
        client = PublishClient.from_url(url, confirm=True)
        assert client.broker == url
        client.send("/queue/a", b"")
        assert client.broker == f"stomp://127.0.0.1:{broker.port}"
        client.close()

    def test_none_names_every_one_and_why(self):
        ports = free_ports(2)
        with pytest.raises(BrokerUnavailable, match="none of the 2 brokers") as failure:
            PublishClient.from_url(f"stomp://u:{SECRET}@127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}").connect()
        assert all(f"127.0.0.1:{port}: connection refused" in str(failure.value) for port in ports)
        assert SECRET not in str(failure.value)

    def test_a_mute_one_costs_only_its_share(self, broker):
        with Broker() as mute:
            mute.faults.mute("CONNECT")
            url = f"stomp://127.0.0.1:{mute.port},127.0.0.1:{broker.port}"
            with PublishClient.from_url(url, connect_timeout=3, timeout=60) as client:
                client.send("/queue/a", b"", confirm=True)
        assert len(broker.messages("/queue/a")) == 1

    def test_a_refused_login_is_not_tried_elsewhere(self, broker):
        with Broker(login="a", passcode="b") as strict:
            client = PublishClient.from_url(f"stomp://x:y@127.0.0.1:{strict.port},127.0.0.1:{broker.port}")
            with pytest.raises(AuthenticationFailed):
                client.connect()
        assert broker.connections_accepted == 0


class TestOptions:
    @pytest.mark.parametrize("host", ["", None, 5, b"mq"])
    def test_a_host_that_is_none_is_refused(self, host):
        with pytest.raises(ConfigurationError) as failure:
            PublishClient(host)
        assert failure.value.option == "host"

    @pytest.mark.parametrize("port", [0, -1, 65536, "61613", 1.5, None, True])
    def test_a_port_that_is_none_is_refused(self, port):
        with pytest.raises(ConfigurationError) as failure:
            PublishClient("mq", port)
        assert failure.value.option == "port"

    @pytest.mark.parametrize("versions", [(), ("1.3",), "1.2", ("1.2", 1.1)])
    def test_versions_that_do_not_exist_are_refused(self, versions):
        with pytest.raises(ConfigurationError, match=r"1.0, 1.1, 1.2"):
            PublishClient(versions=versions)

    @pytest.mark.parametrize(
        "options",
        [
            {"login": "a\nb"},
            {"login": "a\0b"},
            {"passcode": f"{SECRET}\n"},
            {"passcode": f"{SECRET}\udcff"},
            {"passcode": SECRET.encode()},
            {"vhost": "a\rb"},
            {"connect_headers": {"a": "b\nc"}},
            {"connect_headers": {"host": "x"}},
            {"connect_headers": {"receipt": "x"}},
        ],
    )
    def test_what_connect_cannot_carry_is_refused_when_the_client_is_made(self, options):
        with pytest.raises(ConfigurationError) as failure:
            PublishClient(**options)
        assert SECRET not in str(failure.value)

    def test_heart_beats_cannot_be_promised_without_a_thread(self):
        with pytest.raises(ConfigurationError, match="begin with 0"):
            PublishClient(heart_beat=(1000, 0))

    @pytest.mark.parametrize("heart_beat", [(1,), "1", None, (0, -1)])
    def test_a_heart_beat_that_is_none_is_refused(self, heart_beat):
        with pytest.raises(ConfigurationError, match="heart_beat"):
            PublishClient(heart_beat=heart_beat)

    def test_options_of_the_address_are_used_and_keywords_win(self, broker):
        client = PublishClient.from_url(f"{broker.url}?timeout=3&confirm=yes&connect_timeout=1&heart_beat=0,500")
        assert (client.timeout, client.confirm) == (3.0, True)
        assert PublishClient.from_url(f"{broker.url}?timeout=3", timeout=4).timeout == 4.0

    def test_options_that_are_the_pool_s_are_refused(self):
        with pytest.raises(ConfigurationError, match="no option pool_size"):
            PublishClient.from_url("stomp://mq?pool_size=3")
        with pytest.raises(ConfigurationError, match="no option time_out; did you mean timeout"):
            PublishClient.from_url("stomp://mq", time_out=3)

    @pytest.mark.parametrize("scheme", ["memory", "console", "null"])
    def test_an_address_for_development_is_for_publishers(self, scheme):
        with pytest.raises(ConfigurationError, match="Publisher"):
            PublishClient.from_url(f"{scheme}://")

    def test_credentials_and_virtual_host_of_the_address_are_used(self):
        broker = Broker(login="us:er", passcode="p@ss/w?rd", vhosts=("a b",))
        broker.start()
        with broker, PublishClient.from_url(broker.url):
            assert (connects_to(broker)["login"], connects_to(broker)["host"]) == ("us:er", "a b")

    def test_ipv6_works(self):
        try:
            running = Broker("::1")
            running.start()
        except OSError:
            pytest.skip("this machine has no IPv6")
        with running, PublishClient.from_url(running.url, confirm=True) as client:
            client.send("/queue/a", b"")
            assert client.broker == f"stomp://[::1]:{running.port}"


class TestAddresses:
    def resolve(self, monkeypatch, *families: int, port: int) -> None:
        found = [(family, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for family in families]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    def test_one_of_a_family_that_this_system_has_not_is_passed_over(self, broker, monkeypatch):
        self.resolve(monkeypatch, 12_345, socket.AF_INET, port=broker.port)
        with PublishClient("mq.example.com", broker.port) as client:
            assert client.connected

    def test_a_socket_that_cannot_be_made_is_told_as_any_other_failure(self, broker, monkeypatch):
        self.resolve(monkeypatch, 12_345, port=broker.port)
        with pytest.raises(BrokerUnavailable, match="nothing was sent"):
            PublishClient("mq.example.com", broker.port).connect()

    def test_a_look_up_that_fails_in_the_system_is_told_as_any_other_failure(self, broker, monkeypatch):
        def fail(*_: object, **__: object):
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        with pytest.raises(BrokerUnavailable, match="Too many open files"):
            PublishClient("mq.example.com", broker.port).connect()
