"""The factories, called as PasteDeploy calls them: every value is a text."""

from __future__ import annotations

import pytest

from stomp_web import ConfigurationError
from stomp_web.wsgi import filter_app_factory, filter_factory

GLOBAL = {"here": "/srv/shop", "__file__": "/srv/shop/shop.ini"}


def handler(environ, start_response):
    start_response("200 OK", [])
    return []


def test_texts_become_what_the_options_are():
    options = filter_app_factory(
        handler,
        GLOBAL,
        url="memory://",
        pool_size="3",
        timeout="2.5",
        confirm="false",
        heart_beat="0, 10000",
        headers="x-app=shop, x-env=test",
    ).publisher.options

    assert (options.pool_size, options.timeout, options.confirm) == (3, 2.5, False)
    assert options.heart_beat == (0, 10_000)
    assert options.headers == {"x-app": "shop", "x-env": "test"}


def test_the_filter_factory_makes_filters_that_do_not_share_a_publisher():
    make = filter_factory(GLOBAL, url="memory://", environ_key="shop.broker")
    one, other = make(handler), make(handler)

    assert one.app is other.app is handler
    assert one.environ_key == "shop.broker"
    assert one.publisher is not other.publisher


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("pool_sise", "3", "did you mean pool_size"),
        ("pool_size", "many", "pool_size must be a whole number"),
        ("url", "http://localhost", "must begin with one of stomp://"),
        ("publisher", "shop:publisher", "no option publisher"),
        ("observers", "shop:observer", "no option observers"),
    ],
)
def test_what_is_no_option_or_no_value_for_it_is_refused(option, value, says):
    with pytest.raises(ConfigurationError, match=says) as caught:
        filter_app_factory(handler, GLOBAL, **{option: value})
    assert caught.value.option == option


def test_the_global_section_may_be_missing():
    assert filter_app_factory(handler, None, url="memory://").publisher.outbox == []
