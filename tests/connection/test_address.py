"""Addresses: their parts, decoded, and what is no address. No credential is ever shown."""

from __future__ import annotations

import pytest

from stomp_web import ConfigurationError
from stomp_web.client import Endpoint, parse_address


class TestParts:
    def test_a_host_alone_gets_the_scheme_s_port(self):
        assert parse_address("stomp://mq").endpoints == (Endpoint("mq", 61613),)
        assert parse_address("stomp+ssl://mq").endpoints == (Endpoint("mq", 61614),)

    def test_every_part_is_found(self):
        address = parse_address("stomp+ssl://user:secret@mq1:1,mq2:2/shop?timeout=3&confirm=no")
        assert address.scheme == "stomp+ssl"
        assert address.tls
        assert address.endpoints == (Endpoint("mq1", 1), Endpoint("mq2", 2))
        assert (address.login, address.passcode, address.vhost) == ("user", "secret", "shop")
        assert address.options == {"timeout": "3", "confirm": "no"}

    def test_what_is_not_there_is_none(self):
        address = parse_address("stomp://mq")
        assert (address.login, address.passcode, address.vhost, address.options) == (None, None, None, {})

    @pytest.mark.parametrize("url", ["stomp://mq/", "stomp://mq"])
    def test_an_empty_path_is_no_virtual_host(self, url):
        assert parse_address(url).vhost is None

    def test_a_slash_as_virtual_host_is_percent_encoded(self):
        assert parse_address("stomp://mq/%2F").vhost == "/"

    def test_every_part_is_percent_decoded(self):
        address = parse_address("stomp://us%40er:p%2Fa%3As%3F%C3%A9@m%71/a%2Fb?headers=x%3D%26")
        assert (address.login, address.passcode, address.vhost) == ("us@er", "p/a:s?é", "a/b")
        assert address.endpoints == (Endpoint("mq", 61613),)
        assert address.options == {"headers": "x=&"}

    def test_a_plus_stays_a_plus(self):
        assert parse_address("stomp://a+b:c+d@mq").passcode == "c+d"

    def test_an_at_sign_in_the_passcode_needs_no_encoding(self):
        address = parse_address("stomp://user:p@ss@mq")
        assert (address.passcode, address.endpoints) == ("p@ss", (Endpoint("mq", 61613),))

    def test_a_colon_in_the_passcode_needs_no_encoding(self):
        assert parse_address("stomp://user:a:b@mq").passcode == "a:b"

    def test_a_login_can_stand_without_a_passcode(self):
        address = parse_address("stomp://user@mq")
        assert (address.login, address.passcode) == ("user", None)

    def test_an_ipv6_address_stands_in_brackets(self):
        address = parse_address("stomp://[::1]:5,[fe80::2]")
        assert address.endpoints == (Endpoint("::1", 5), Endpoint("fe80::2", 61613))
        assert str(address) == "stomp://[::1]:5,[fe80::2]:61613"

    def test_the_scheme_is_read_in_any_case(self):
        assert parse_address("STOMP://mq").scheme == "stomp"

    @pytest.mark.parametrize("scheme", ["memory", "console", "null"])
    def test_an_address_for_development_opens_no_connection(self, scheme):
        address = parse_address(f"{scheme}://?timeout=3")
        assert address.local
        assert address.endpoints == ()
        assert address.options == {"timeout": "3"}


class TestSecrets:
    def test_neither_str_nor_repr_shows_the_passcode(self):
        address = parse_address("stomp://user:s3cret@mq/shop?passcode=s3cret")
        assert "s3cret" not in str(address) + repr(address)
        assert str(address) == "stomp://mq:61613/shop"

    @pytest.mark.parametrize(
        "url",
        [
            "stomp://user:s3cret@",
            "stomp://user:s3cret@mq:port",
            "stomp://user:s3cret@mq:99999",
            "stomp://user:s3cret@mq?timeout",
            "stomp://user:s3cret@a:b:c",
            "stomp://user:s3cret@[::1",
            "stomp://user:s3cret%ff@mq",
            "stomp://user:s3cret@mq?x=1&x=2",
            "amqp://user:s3cret@mq",
            "user:s3cret@mq",
            # A slash or question mark in the passcode that should have been percent-encoded:
            "stomp://user:s3cret/more@mq",
            "stomp://user:mo/s3cret@mq",
            "stomp://user:s3cret?more@mq",
            "stomp://user:s3cret:x/more@mq",
            # The host was forgotten:
            "stomp://user:s3cret",
            "stomp://user:se:s3cret",
            "stomp://[s3cret",
            "user:s3cret@mq://x",
        ],
    )
    def test_no_error_shows_the_passcode(self, url):
        with pytest.raises(ConfigurationError) as failure:
            parse_address(url)
        assert "s3cret" not in str(failure.value) + repr(failure.value)
        assert failure.value.option == "url"

    def test_a_slash_in_the_passcode_is_not_taken_for_the_end_of_the_host(self):
        with pytest.raises(ConfigurationError, match="%2F"):
            parse_address("stomp://user:12/34@mq")


class TestBadAddresses:
    @pytest.mark.parametrize("url", ["", "mq", "mq:61613", "//mq", "http://mq", "stomp:/mq", "stomp+tls://mq"])
    def test_a_missing_or_unknown_scheme_is_told_which_there_are(self, url):
        with pytest.raises(ConfigurationError, match=r"stomp://, stomp\+ssl://") as failure:
            parse_address(url)
        assert "stomp://localhost:61613" in str(failure.value)

    @pytest.mark.parametrize("url", ["stomp://", "stomp://:61613", "stomp://a,,b", "stomp://a,", "stomp:///vhost"])
    def test_a_missing_host_is_refused(self, url):
        with pytest.raises(ConfigurationError, match="host"):
            parse_address(url)

    @pytest.mark.parametrize("port", ["0", "65536", "-1", "x", "1.5", "٣", "+5", "1" * 5000])
    def test_a_port_that_is_none_is_refused(self, port):
        with pytest.raises(ConfigurationError, match="65535"):
            parse_address(f"stomp://mq:{port}")

    def test_an_ipv6_address_without_brackets_is_refused(self):
        with pytest.raises(ConfigurationError, match="brackets"):
            parse_address("stomp://::1")

    @pytest.mark.parametrize("url", ["stomp://[::1", "stomp://[::1]61613"])
    def test_brackets_that_are_no_address_are_refused(self, url):
        with pytest.raises(ConfigurationError, match="brackets"):
            parse_address(url)

    @pytest.mark.parametrize("query", ["timeout", "=3", "timeout=3&", "&timeout=3"])
    def test_a_query_that_is_no_list_of_options_is_refused(self, query):
        with pytest.raises(ConfigurationError, match="option=value"):
            parse_address(f"stomp://mq?{query}")

    def test_an_option_given_twice_is_refused(self):
        with pytest.raises(ConfigurationError, match="timeout twice"):
            parse_address("stomp://mq?timeout=3&timeout=4")

    def test_a_percent_encoding_that_is_not_utf_8_is_refused(self):
        with pytest.raises(ConfigurationError, match="UTF-8"):
            parse_address("stomp://mq/%ff")

    @pytest.mark.parametrize("url", [None, b"stomp://mq", 5])
    def test_only_a_str_is_an_address(self, url):
        with pytest.raises(ConfigurationError, match="must be str"):
            parse_address(url)
