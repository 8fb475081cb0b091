"""The options: their types, as Python values and as texts, and what is refused, in words that help."""

from __future__ import annotations

import dataclasses
import inspect
import pathlib

import pytest

from stomp_web import ConfigurationError, PublishClient, Publisher, PublishSubscribeClient, QueueingDuplexClient
from stomp_web.config import CLIENT_TIMEOUT, DEFAULTS, OPTIONS, Options, coerce, read_options

SECONDS = ("timeout", "connect_timeout", "max_idle", "max_lifetime")
FLAGS = ("confirm", "persistent", "resend_unknown")
TEXTS = ("url", "login", "passcode", "vhost", "serializer", "tls_key_password")
PATHS = ("tls_ca", "tls_cert", "tls_key")


def refusal(name, value, **more):
    with pytest.raises(ConfigurationError) as failure:
        coerce(name, value, **more)
    return failure.value


class TestTheSet:
    def test_it_has_the_options_of_its_contract(self):
        assert set(
            "url pool_size timeout connect_timeout confirm persistent serializer max_idle max_lifetime max_waiting "
            "resend_unknown heart_beat tls_ca tls_cert tls_key tls_key_password headers signing_keys".split()
        ) <= set(OPTIONS)

    def test_a_publisher_has_the_default_of_every_option(self):
        assert Publisher("memory://").options == dataclasses.replace(DEFAULTS, url="memory://")

    @pytest.mark.parametrize("client", [PublishClient, QueueingDuplexClient, PublishSubscribeClient])
    def test_the_clients_have_the_same_defaults_but_more_time_and_no_receipts(self, client):
        own = {name: given.default for name, given in inspect.signature(client).parameters.items() if name in OPTIONS}
        assert {"connect_timeout", "heart_beat", "tls_ca"} <= set(own)
        assert own == {name: OPTIONS[name].default for name in own} | {"timeout": CLIENT_TIMEOUT, "confirm": False}

    @pytest.mark.parametrize("name", OPTIONS)
    def test_every_default_is_a_good_value(self, name):
        assert coerce(name, OPTIONS[name].default) == OPTIONS[name].default

    @pytest.mark.parametrize("name", OPTIONS)
    def test_every_option_says_what_it_means(self, name):
        assert OPTIONS[name].meaning.endswith(".")


class TestSeconds:
    @pytest.mark.parametrize("name", SECONDS)
    @pytest.mark.parametrize(("value", "seconds"), [(3, 3.0), (0.5, 0.5), ("3", 3.0), (" 0.5 ", 0.5), ("1e2", 100.0)])
    def test_numbers_and_texts_are_understood(self, name, value, seconds):
        assert coerce(name, value) == seconds

    @pytest.mark.parametrize("name", SECONDS)
    @pytest.mark.parametrize(
        "value",
        [
            0,
            -1,
            "0",
            "",
            "soon",
            None,
            True,
            False,
            [3],
            float("nan"),
            float("inf"),
            "nan",
            "inf",
            pytest.param(10**400, id="huge"),
        ],
    )
    def test_everything_else_is_refused_with_the_unit(self, name, value):
        error = refusal(name, value)
        assert error.option == name
        assert name in str(error)
        assert "seconds" in str(error)


class TestCounts:
    @pytest.mark.parametrize(("value", "count"), [(1, 1), (8, 8), ("8", 8), (" 8 ", 8)])
    def test_whole_numbers_are_understood(self, value, count):
        assert coerce("pool_size", value) == count

    @pytest.mark.parametrize(
        "value",
        [0, -1, 1.5, 8.0, "0", "1.5", "-1", "", "x", None, True, float("nan"), pytest.param("9" * 5000, id="long")],
    )
    def test_everything_else_is_refused(self, value):
        assert "whole number, 1 or more" in str(refusal("pool_size", value))

    def test_max_waiting_may_be_none_at_all(self):
        assert coerce("max_waiting", 0) == 0
        assert "0 or more" in str(refusal("max_waiting", -1))


class TestFlags:
    @pytest.mark.parametrize("name", FLAGS)
    @pytest.mark.parametrize("value", [True, "true", "True", "YES", "on", "1", " 1 "])
    def test_yes_is_understood(self, name, value):
        assert coerce(name, value) is True

    @pytest.mark.parametrize("name", FLAGS)
    @pytest.mark.parametrize("value", [False, "false", "No", "OFF", "0"])
    def test_no_is_understood(self, name, value):
        assert coerce(name, value) is False

    @pytest.mark.parametrize("value", [None, 1, 0, "", "maybe", "2", [], 1.0])
    def test_everything_else_is_refused(self, value):
        assert "true or false" in str(refusal("confirm", value))


class TestTexts:
    @pytest.mark.parametrize("name", TEXTS)
    def test_a_text_is_taken_as_it_is(self, name):
        assert coerce(name, " a b ") == " a b "

    @pytest.mark.parametrize("name", TEXTS)
    @pytest.mark.parametrize("value", ["", "  ", 5, b"bytes", ["a"]])
    def test_an_empty_text_and_other_types_are_refused(self, name, value):
        assert "text" in str(refusal(name, value))

    @pytest.mark.parametrize("name", ["login", "passcode", "vhost", "tls_key_password", *PATHS])
    def test_what_may_be_missing_may_be_none(self, name):
        assert coerce(name, None) is None

    def test_a_passcode_of_digits_that_became_a_number_is_told_to_be_put_in_quotes(self):
        error = refusal("passcode", 123456)
        assert "quotes" in str(error)
        assert "123456" not in str(error)

    @pytest.mark.parametrize("name", PATHS)
    def test_a_path_may_be_a_path_object(self, name):
        assert coerce(name, pathlib.Path("a") / "b.pem") == str(pathlib.Path("a") / "b.pem")


class TestHeartBeat:
    @pytest.mark.parametrize("value", [(0, 10000), [0, 10000], "0,10000", " 0 , 10000 "])
    def test_two_numbers_are_understood(self, value):
        assert coerce("heart_beat", value) == (0, 10000)

    @pytest.mark.parametrize("value", [None, 5, "", "5", "1,2,3", (1,), (1, -1), ("a", "b"), (1.5, 2), (True, 1)])
    def test_everything_else_is_refused_with_an_example(self, value):
        assert "0,10000" in str(refusal("heart_beat", value))


class TestHeaders:
    @pytest.mark.parametrize("value", [{"a": "1", "b": "x=y"}, "a=1,b=x=y", " a = 1 \n b=x=y\n", "a=1,,b=x=y,"])
    def test_mappings_and_texts_are_understood(self, value):
        assert coerce("headers", value) == {"a": "1", "b": "x=y"}

    @pytest.mark.parametrize("value", [None, 5, "a", "a=1,b", {"a": 1}, {1: "a"}, {"a": None}, [("a", "1")]])
    def test_everything_else_is_refused(self, value):
        assert refusal("headers", value).option == "headers"

    def test_the_caller_s_dict_stays_his(self):
        mine = {"a": "1"}
        assert coerce("headers", mine) is not mine


class TestSigningKeys:
    @pytest.mark.parametrize(
        ("value", "keys"),
        [("a", ("a",)), ("new, old", ("new", "old")), (["a", b"b"], ("a", b"b")), (b"a,b", (b"a,b",)), ("", ())],
    )
    def test_keys_are_understood(self, value, keys):
        assert coerce("signing_keys", value) == keys

    @pytest.mark.parametrize("value", [None, 5, [""], ["s3cret", 5], {"s3cret": 1}, {"s3cret"}])
    def test_everything_else_is_refused_without_showing_it(self, value):
        error = refusal("signing_keys", value)
        assert "secret keys" in str(error)
        assert "s3cret" not in str(error)


class TestRefusals:
    def test_an_unknown_option_names_the_nearest_one(self):
        error = refusal("time_out", 5)
        assert str(error) == "there is no option time_out; did you mean timeout?"
        assert error.option == "time_out"

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("user", "login?"),
            ("Password", "passcode?"),
            ("POOL_SIZE", "pool_size?"),
            ("host", "url, as in stomp://localhost:61613?"),
            ("use_ssl", "url, as in stomp+ssl://localhost:61614?"),
        ],
    )
    def test_what_other_libraries_call_otherwise_is_understood(self, written, meant):
        assert str(refusal(written, 5)) == f"there is no option {written}; did you mean {meant}"

    def test_a_name_of_another_library_with_a_prefix_is_understood(self):
        with pytest.raises(ConfigurationError, match=r"STOMP_USERNAME; did you mean STOMP_LOGIN\?"):
            read_options({"STOMP_USERNAME": "ada"}, prefix="STOMP_", upper=True)

    def test_an_option_that_resembles_none_lists_them_all(self):
        error = refusal("colour", 5)
        assert all(name in str(error) for name in OPTIONS)

    def test_a_bad_value_is_shown_under_the_name_that_the_user_wrote(self):
        error = refusal("timeout", "soon", written="STOMP_TIMEOUT")
        assert str(error).startswith("the option STOMP_TIMEOUT must be a number of seconds")
        assert str(error).endswith("not 'soon'")
        assert error.option == "STOMP_TIMEOUT"

    def test_an_unknown_option_with_a_prefix_names_the_nearest_one_with_it(self):
        with pytest.raises(
            ConfigurationError, match="no option STOMP_POOLSIZE; did you mean STOMP_POOL_SIZE"
        ) as failure:
            read_options({"STOMP_POOLSIZE": "5"}, prefix="STOMP_", upper=True)
        assert failure.value.option == "STOMP_POOLSIZE"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("passcode", ["s3cret"]),
            ("url", ["s3cret"]),
            ("signing_keys", {"s3cret": 1}),
            ("headers", {"token": b"s3cret"}),
        ],
    )
    def test_the_value_of_what_may_be_secret_is_not_shown(self, name, value):
        assert "s3cret" not in str(refusal(name, value))

    def test_the_repr_of_the_options_shows_no_secret(self):
        options = Options(
            url="stomp://user:s3cret@mq", passcode="s3cret", signing_keys=("s3cret",), headers={"token": "s3cret"}
        )
        assert "s3cret" not in repr(options) + str(options)


class TestReading:
    def test_names_are_read_with_their_prefix_in_upper_case(self):
        assert read_options({"STOMP_POOL_SIZE": "3", "STOMP_CONFIRM": "no"}, prefix="STOMP_", upper=True) == {
            "pool_size": 3,
            "confirm": False,
        }

    def test_a_later_source_wins(self):
        assert read_options({"timeout": 1, "pool_size": 2}, {"timeout": 3}) == {"timeout": 3.0, "pool_size": 2}

    def test_options_of_the_address_are_used_and_keywords_win_over_them(self):
        publisher = Publisher("memory://?timeout=3&confirm=no&headers=a%3D1", timeout=4)
        assert publisher.options.timeout == 4.0
        assert publisher.options.confirm is False
        assert publisher.options.headers == {"a": "1"}

    @pytest.mark.parametrize("url", ["stomp://mq?url=stomp://other", "memory://?url=stomp://other"])
    def test_an_address_inside_the_address_is_refused(self, url):
        with pytest.raises(ConfigurationError, match="url"):
            Publisher(url)

    def test_an_unknown_option_of_a_publisher_is_refused(self):
        with pytest.raises(ConfigurationError, match="did you mean pool_size"):
            Publisher("memory://", pool_sise=3)

    def test_an_unknown_option_of_an_address_is_refused(self):
        with pytest.raises(ConfigurationError, match="did you mean timeout"):
            Publisher("stomp://mq?timeot=3")
