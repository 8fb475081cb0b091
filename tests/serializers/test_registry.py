"""A serializer is found by its name and by its content type, and users add their own."""

from __future__ import annotations

import pytest

from stomp_web import ConfigurationError, SerializationError
from stomp_web.serializers import SerializedPayload, Serializer, deserialize, get_serializer, register, registry
from tests.serializers.payloads import read, write


class TestChoosing:
    @pytest.mark.parametrize(
        ("content_type", "payload"),
        [
            ("application/json", 1),
            ("application/json; charset=utf-8", 1),
            ("Application/JSON", 1),
            ("text/plain", "1"),
            ("text/html;charset=utf-8", "1"),
            ("application/octet-stream", b"1"),
            (None, b"1"),
        ],
    )
    def test_the_content_type_tells_how_a_body_is_read(self, content_type, payload):
        assert deserialize(b"1", {} if content_type is None else {"content-type": content_type}) == payload

    @pytest.mark.parametrize("content_type", ["image/png", "application/json;signed=other", ""])
    def test_an_unknown_content_type_is_refused(self, content_type):
        with pytest.raises(SerializationError, match="content type"):
            deserialize(b"1", {"content-type": content_type})

    @pytest.mark.parametrize("name", ["yaml", "", None, ["json"], "JSON"])
    def test_a_serializer_that_does_not_exist_is_told_which_there_are(self, name):
        with pytest.raises(ConfigurationError, match="bytes, json, pickle, signed-json, signed-pickle, text"):
            get_serializer(name)


class TestRegistering:
    @pytest.fixture(autouse=True)
    def _restore(self, monkeypatch):
        monkeypatch.setattr(registry, "_serializers", dict(registry._serializers))

    class Csv(Serializer):
        name = "csv"
        content_type = "text/csv"

        def dumps(self, payload):
            return ",".join(payload).encode()

        def loads(self, body):
            return body.decode().split(",")

    def test_another_serializer_can_be_used_by_its_name(self):
        register(self.Csv())
        done = write("csv", ["a", "b"])
        assert done == SerializedPayload(b"a,b", "text/csv", {})
        assert read(done, accept=["csv"]) == ["a", "b"]

    def test_its_errors_name_it(self):
        register(self.Csv())
        with pytest.raises(SerializationError, match="csv") as failure:
            write("csv", 5)
        assert failure.value.serializer == "csv"

    @pytest.mark.parametrize(("name", "content_type"), [("json", "application/x"), ("other", "application/json")])
    def test_a_name_or_content_type_that_is_taken_is_refused(self, name, content_type):
        taken = self.Csv()
        taken.name, taken.content_type = name, content_type
        with pytest.raises(ConfigurationError, match="registered already"):
            register(taken)
