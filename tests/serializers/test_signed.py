"""A signed message is read only with its key, unchanged, and where it was sent to."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from stomp_web import ConfigurationError, InvalidFrame, InvalidFrameType, SerializationError
from stomp_web.serializers import SIGNATURE, deserialize, get_serializer
from tests.serializers.payloads import QUEUE, read, write


class TestSigned:
    @pytest.mark.parametrize("name", ["signed-json", "signed-pickle"])
    def test_what_was_signed_comes_back(self, name):
        done = write(name, {"id": 7}, keys=["key"])
        assert SIGNATURE in done.headers
        assert read(done, accept=[name], keys=["key"]) == {"id": 7}

    def test_the_body_can_be_read_without_the_key(self):
        assert write("signed-json", {"id": 7}, keys=["key"]).body == b'{"id":7}'

    def test_a_key_may_be_bytes_or_its_text(self):
        done = write("signed-json", 1, keys=["schlüssel"])
        assert read(done, accept=["signed-json"], keys=["schlüssel".encode()]) == 1

    @pytest.mark.parametrize(
        "tamper",
        [
            lambda done, headers: (done.body + b" ", headers),
            lambda done, headers: (done.body, {**headers, "destination": "/queue/b"}),
            lambda done, headers: (done.body, {**headers, SIGNATURE: ""}),
            lambda done, headers: (done.body, {**headers, SIGNATURE: "é"}),
            lambda done, headers: (done.body, {name: headers[name] for name in headers if name != SIGNATURE}),
            lambda done, headers: (done.body, {name: headers[name] for name in headers if name != "destination"}),
        ],
        ids=["body", "destination", "no signature", "not ascii", "no header", "no destination"],
    )
    def test_what_was_tampered_with_is_not_read(self, tamper):
        done = write("signed-pickle", 1, keys=["key"])
        headers = {"destination": QUEUE, "content-type": done.content_type, **done.headers}
        body, headers = tamper(done, headers)
        with pytest.raises(SerializationError, match="no valid signature"):
            deserialize(body, headers, accept=["signed-pickle"], keys=["key"])

    def test_a_signed_body_does_not_pass_under_another_content_type(self):
        body = pickle.dumps(1)
        as_json = write("signed-json", 1, keys=["key"])
        headers = {"destination": QUEUE, **as_json.headers}
        headers["content-type"] = get_serializer("signed-pickle").content_type
        with pytest.raises(SerializationError, match="no valid signature"):
            deserialize(as_json.body, headers, accept=["signed-pickle"], keys=["key"])
        headers["content-type"] = "application/x-python-serialize"
        with pytest.raises(SerializationError, match="was not read"):
            deserialize(body, headers, accept=["signed-pickle"], keys=["key"])

    def test_parts_cannot_be_moved_between_destination_and_body(self):
        done = write("signed-json", "b", destination="/queue/a", keys=["key"])
        assert write("signed-json", "b", destination='/queue/a"b"', keys=["key"]).headers != done.headers

    def test_keys_can_be_rotated(self):
        old = write("signed-json", 1, keys=["old"])
        new = write("signed-json", 2, keys=["new", "old"])
        assert read(old, accept=["signed-json"], keys=["new", "old"]) == 1
        assert read(new, accept=["signed-json"], keys=["new"]) == 2
        with pytest.raises(SerializationError):
            read(old, accept=["signed-json"], keys=["new"])

    @pytest.mark.parametrize("name", ["signed-json", "signed-pickle"])
    def test_without_a_key_nothing_is_signed_or_read(self, name):
        with pytest.raises(ConfigurationError, match="signing_keys") as failure:
            write(name, 1)
        assert failure.value.option == "signing_keys"
        with pytest.raises(ConfigurationError):
            read(write(name, 1, keys=["key"]), accept=[name])

    @pytest.mark.parametrize(
        ("destination", "error"), [("", InvalidFrame), (7, InvalidFrameType), (None, InvalidFrameType)]
    )
    def test_a_bad_destination_is_refused_as_for_every_other_message(self, destination, error):
        with pytest.raises(error, match="the destination"):
            write("signed-json", 1, destination, keys=["key"])

    def test_no_error_shows_a_key(self):
        done = write("signed-json", 1, keys=["s3cret"])
        with pytest.raises(SerializationError) as failure:
            read(dataclasses.replace(done, body=b"2"), accept=["signed-json"], keys=["s3cret", "s3cret2"])
        assert "s3cret" not in str(failure.value)

    def test_a_payload_that_cannot_be_written_names_the_signed_serializer(self):
        with pytest.raises(SerializationError) as failure:
            write("signed-json", {1, 2}, keys=["key"])
        assert failure.value.serializer == "signed-json"
