"""TLS: verified against the authorities and the host name, or not at all."""

from __future__ import annotations

import ssl
import time

import pytest
import trustme

from stomp_web import BrokerUnavailable, ConfigurationError, PublishClient, PublishClientPool, QueueingDuplexClient
from stomp_web.broker import Broker
from stomp_web.connection.tls import InsecureConnectionWarning
from tests.client.scripted import news


def server_context(authority, *names):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def tls_broker(authority):
    with Broker(ssl=server_context(authority, "127.0.0.1", "localhost")) as running:
        yield running


def test_the_right_authority_is_trusted(tls_broker, ca_file):
    with PublishClient(*tls_broker.address, ssl=True, tls_ca=ca_file, confirm=True) as client:
        client.send("/queue/tls", b"x" * 100_000)
        assert client.broker == f"stomp+ssl://127.0.0.1:{tls_broker.port}"
    assert len(tls_broker.messages("/queue/tls")[-1].body) == 100_000


def test_the_address_says_it_all(tls_broker, ca_file):
    with PublishClient.from_url(f"stomp+ssl://localhost:{tls_broker.port}?tls_ca={ca_file}", confirm=True) as client:
        client.send("/queue/tls")


def test_a_pool_and_a_duplex_client_speak_it_too(tls_broker, ca_file):
    with PublishClientPool(tls_broker.url, tls_ca=ca_file) as pool, pool.client() as client:
        client.send("/queue/pool", b"x", confirm=True)
    with QueueingDuplexClient(*tls_broker.address, ssl=True, tls_ca=ca_file) as duplex:
        duplex.subscribe("/queue/pool")
        assert duplex.receive(5).body == b"x"


def test_a_context_of_one_s_own_is_used_as_it_is(tls_broker, authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with PublishClient(*tls_broker.address, ssl=context, confirm=True) as client:
        client.send("/queue/tls")


def test_many_big_messages_and_their_receipts_pass(tls_broker, ca_file):
    from stomp_web import Message

    with PublishClient(*tls_broker.address, ssl=True, tls_ca=ca_file) as client:
        client.send_many([Message("/queue/many", bytes(300_000))] * 20, confirm=True)
        client.send_many([Message("/queue/many", b"")] * 5000, confirm=True)
    assert len(tls_broker.messages("/queue/many")) == 5020


def test_a_connection_that_ended_is_seen(tls_broker, ca_file):
    with PublishClient(*tls_broker.address, ssl=True, tls_ca=ca_file, confirm=True) as client:
        session = client.state.session
        tls_broker.faults.close_connections()
        assert news(session)
        client.send("/queue/again")


@pytest.mark.parametrize("trusted", ["the system's", "another"])
def test_an_authority_that_is_not_trusted_is_refused(tls_broker, tmp_path, trusted):
    options = {}
    if trusted == "another":
        options["tls_ca"] = str(tmp_path / "other.pem")
        trustme.CA().cert_pem.write_to_path(options["tls_ca"])
    accepted = tls_broker.received("CONNECT")
    with pytest.raises(BrokerUnavailable, match=r"certificate was not accepted.*tls_ca"):
        PublishClient(*tls_broker.address, ssl=True, passcode="s3cret", **options).connect()
    assert tls_broker.received("CONNECT") == accepted


def test_a_certificate_for_another_host_is_refused(authority, ca_file):
    with Broker(ssl=server_context(authority, "mq.example.org")) as running:
        with pytest.raises(BrokerUnavailable, match=r"certificate was not accepted.*(mismatch|127\.0\.0\.1)"):
            PublishClient(*running.address, ssl=True, tls_ca=ca_file).connect()
        assert running.received("CONNECT") == 0


def test_a_plain_port_is_told(broker, ca_file):
    with pytest.raises(BrokerUnavailable, match=r"does not seem to speak TLS.* stomp://"):
        PublishClient(*broker.address, ssl=True, tls_ca=ca_file).connect()


def test_a_port_that_never_answers_the_handshake_costs_only_the_time_that_was_given(serve, ca_file):
    """ActiveMQ 5.17 does that on its plain port."""
    server = serve(lambda peer: peer.wait_for_end())
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match="does this port speak TLS"):
        PublishClient("127.0.0.1", server.port, ssl=True, tls_ca=ca_file, connect_timeout=0.05).connect()
    assert time.monotonic() - began < 30


def test_a_tls_port_spoken_to_plainly_is_told(tls_broker):
    with pytest.raises(BrokerUnavailable) as failure:
        PublishClient(*tls_broker.address, connect_timeout=1).connect()
    assert "nothing was sent" in str(failure.value)


def test_a_client_s_certificate_is_shown(authority, ca_file, tmp_path):
    context = server_context(authority, "127.0.0.1")
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    mine = authority.issue_cert("me@example.org")
    certificate, key = tmp_path / "me.pem", tmp_path / "me.key"
    mine.cert_chain_pems[0].write_to_path(str(certificate))
    mine.private_key_pem.write_to_path(str(key))
    with Broker(ssl=context) as running:
        options = {"ssl": True, "tls_ca": ca_file}
        with PublishClient(*running.address, **options, tls_cert=str(certificate), tls_key=str(key)) as client:
            client.send("/queue/a", confirm=True)
        with pytest.raises(BrokerUnavailable):
            PublishClient(*running.address, **options).connect()


class TestOptions:
    @pytest.mark.parametrize("name", ["tls_ca", "tls_cert", "tls_key"])
    def test_a_file_without_tls_is_refused(self, name):
        with pytest.raises(ConfigurationError, match=r"stomp\+ssl") as failure:
            PublishClient(**{name: "x.pem"})
        assert failure.value.option == name

    @pytest.mark.parametrize("name", ["tls_ca", "tls_cert"])
    def test_a_file_that_does_not_exist_is_named(self, name):
        with pytest.raises(ConfigurationError, match="no-such-file") as failure:
            PublishClient(ssl=True, **{name: "/no-such-file.pem"})
        assert failure.value.option == name

    @pytest.mark.parametrize("name", ["tls_ca", "tls_cert"])
    def test_a_file_that_holds_no_certificate_is_named(self, name, tmp_path):
        path = tmp_path / "junk.pem"
        path.write_text("junk")
        with pytest.raises(ConfigurationError, match=r"junk\.pem") as failure:
            PublishClient(ssl=True, **{name: str(path)})
        assert failure.value.option == name

    def test_a_key_without_its_certificate_is_refused(self):
        with pytest.raises(ConfigurationError, match="tls_cert"):
            PublishClient(ssl=True, tls_key="x.key")

    def test_files_beside_a_context_are_refused(self):
        with pytest.raises(ConfigurationError, match="SSLContext"):
            PublishClient(ssl=ssl.create_default_context(), tls_ca="x.pem")


def test_verification_is_turned_off_only_by_a_name_that_says_so_and_it_warns(tls_broker):
    with pytest.warns(InsecureConnectionWarning, match="anybody on the way can read"):
        client = PublishClient(*tls_broker.address, ssl=True, tls_insecure_skip_verify=True)
    with client:
        client.send("/queue/insecure", b"x", confirm=True)


def test_any_certificate_and_a_certain_authority_contradict_each_other(tls_broker, ca_file):
    with pytest.raises(ConfigurationError, match="leave one of them out"):
        PublishClient(*tls_broker.address, ssl=True, tls_ca=ca_file, tls_insecure_skip_verify=True)


def test_skipping_verification_without_tls_is_refused():
    with pytest.raises(ConfigurationError, match="no effect without TLS"):
        PublishClient.from_url("stomp://localhost?tls_insecure_skip_verify=true")
