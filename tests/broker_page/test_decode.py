"""How the page shows a body, whatever a program has written into it."""

from __future__ import annotations

import json
import os
import pickle
import zlib

import pytest

from stomp_web.broker.page.decode import MAX_TEXT, guess, preview, show

JSON = "application/json"
PICKLE = "application/x-python-serialize"


class Evil:
    """A pickle of this makes a folder when it is loaded."""

    def __init__(self, folder) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class TestJson:
    def test_it_gets_a_line_for_each_item(self):
        shown = show(JSON, b'{"a":[1,{"b":null}],"c":{},"d":[],"e":"x,y:{"}')
        expected = """\
{
  "a": [
    1,
    {
      "b": null
    }
  ],
  "c": {},
  "d": [],
  "e": "x,y:{"
}"""
        assert shown == ("json", expected, "")

    @pytest.mark.parametrize("value", [{}, [], 0, "x", [[]], {"a": {"b": [1, 2]}}, [{"x": []}, {}], [[1], [2, [3]]]])
    def test_it_is_laid_out_as_the_json_module_does(self, value):
        assert show(JSON, json.dumps(value).encode()).text == json.dumps(value, indent=2)

    def test_numbers_and_repeated_names_stay_as_they_were_written(self):
        shown = show(JSON, b'{"a": 1.10, "a": 1E400, "b": 123456789012345678901234567890}')
        assert '"a": 1.10,\n  "a": 1E400,\n  "b": 123456789012345678901234567890' in shown.text

    def test_escaped_letters_are_shown_as_letters(self):
        assert show(JSON, rb'"gr\u00fc\u00dfe \" \\u00fc"').text == r'"grüße \" \\u00fc"'

    def test_characters_that_hide_others_are_shown_by_their_escape(self):
        assert show(JSON, '"a\u202eb"'.encode()).text == r'"a\u202eb"'

    @pytest.mark.parametrize("body", [b'{"a":', b"{]", b"NaN", b"[1]x", b'{"a": Infinity}', b"\xff"])
    def test_what_is_not_json_is_shown_as_it_came_with_the_reason(self, body):
        shown = show(JSON, body)
        assert shown.kind == ("bytes" if body == b"\xff" else "text")
        assert "it is not JSON" in shown.note

    @pytest.mark.parametrize("depth", [900, 100_000])
    def test_deep_nesting_takes_no_memory_and_no_stack(self, depth):
        body = b"[" * depth + b",".join([b"1"] * 5_000) + b"]" * depth
        shown = show(JSON, body)
        assert shown.kind == "text"
        assert "too deeply" in shown.note or "too long" in shown.note
        assert len(shown.text) <= MAX_TEXT

    def test_a_number_of_many_digits_is_shown(self):
        assert show(JSON, b"9" * 20_000) == ("json", "9" * 20_000, "")

    def test_the_start_of_a_long_one_is_shown_as_it_came(self):
        shown = show(JSON, b'{"a": "xxx', cut=True)
        assert shown == ("text", '{"a": "xxx', "The end is missing, so it is shown as it came.")

    @pytest.mark.parametrize("content_type", ["", "application/octet-stream", "application/vnd.shop+json;v=1"])
    def test_it_is_known_by_its_type_or_its_look(self, content_type):
        assert show(content_type, b'{"a":1}').kind == "json"


class TestPickle:
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_it_is_disassembled_and_never_loaded(self, tmp_path, protocol):
        shown = show(PICKLE, pickle.dumps(Evil(tmp_path / "made"), protocol=protocol))
        assert shown.kind == "pickle"
        assert "mkdir" in shown.text
        assert "REDUCE" in shown.text
        assert shown.text.splitlines()[-1].startswith("highest protocol among opcodes")
        assert "It was not loaded" in shown.note
        assert not (tmp_path / "made").exists()

    def test_without_a_content_type_it_is_known_by_its_first_bytes(self):
        assert show("", pickle.dumps([1])).kind == "pickle"
        assert show("application/octet-stream", pickle.dumps([1])).kind == "pickle"

    @pytest.mark.parametrize(
        "body", [b"\x80\x05", b"\x80\x05.", b"garbage", b"(" * 60_000, b"\x80\x04\x95" + b"\xff" * 8]
    )
    def test_a_broken_one_is_shown_up_to_the_fault(self, body):
        shown = show(PICKLE, body)
        assert shown.kind == "pickle"
        assert "broken" in shown.note or "are shown" in shown.note
        assert len(shown.text) <= 6 * MAX_TEXT

    def test_the_start_of_a_long_one_says_that_its_end_is_missing(self):
        body = pickle.dumps(list(range(10_000)))
        shown = show(PICKLE, body[:100], cut=True)
        assert "BININT1" in shown.text
        assert "the end of the body was not kept" in shown.note

    def test_a_huge_number_is_no_problem(self):
        assert "broken (ValueError" in show(PICKLE, pickle.dumps(10**20_000)).note


class TestText:
    @pytest.mark.parametrize(
        ("content_type", "body", "text"),
        [
            ("text/plain", "grüße\nzwei\ttab".encode(), "grüße\nzwei\ttab"),
            ("text/plain;charset=latin-1", b"gr\xfc\xdfe", "grüße"),
            ('text/plain; charset="ISO-8859-15"', b"\xa4", "€"),
            ("text/plain; charset=utf-16", "hé".encode("utf-16"), "hé"),
            ("text/plain; charset=rot13", b"abc", "abc"),
            ("", b"plain", "plain"),
            ("text/plain", b"a\r\nb", "a\nb"),
            ("text/plain", b"\x1b[31m", r"\x1b[31m"),
        ],
    )
    def test_it_is_decoded_by_its_charset(self, content_type, body, text):
        assert show(content_type, body) == ("text", text, "")

    def test_no_codec_that_decompresses_is_used(self):
        body = zlib.compress(b"x" * 10_000_000)
        assert show("text/plain; charset=zlib", body).kind == "bytes"

    def test_a_character_that_is_cut_in_two_is_left_out(self):
        assert show("text/plain", "aü".encode()[:-1], cut=True) == ("text", "a", "")

    def test_a_long_one_is_cut(self):
        shown = show("text/plain", b"x" * (MAX_TEXT + 1))
        assert (len(shown.text), shown.note) == (MAX_TEXT, f"The first {MAX_TEXT} characters are shown.")

    def test_markup_is_text(self):
        assert show("text/html", b"<script>alert(1)</script>").text == "<script>alert(1)</script>"


def test_bytes_are_dumped():
    shown = show("image/png", b"\x89PNG\r\n\x1a\n\0\xff abcdefgh")
    assert shown.kind == "bytes"
    assert shown.text.splitlines() == [
        "00000000  89 50 4e 47 0d 0a 1a 0a 00 ff 20 61 62 63 64 65  .PNG...... abcde",
        "00000010  66 67 68                                         fgh",
    ]
    assert "The first 4096 bytes" in show("image/png", b"\0" * 5_000).note


def test_an_empty_body_is_empty():
    assert show(JSON, b"") == ("empty", "", "")


@pytest.mark.parametrize(
    ("content_type", "body", "kind", "line"),
    [
        (JSON, b'{\n "id": 7\n}', "json", '{ "id": 7 }'),
        ("text/plain", b"a\n\n  b", "text", "a b"),
        (PICKLE, b"\x80\x05N.", "pickle", "a pickle of 1000 bytes"),
        ("image/png", bytes(range(64)), "bytes", bytes(range(32)).hex(" ")),
        ("text/plain", "a\u202eb".encode(), "text", r"a\u202eb"),
        ("", b"", "empty", ""),
        (JSON, b"\xff", "json", "\ufffd"),
        ("text/plain", b"x" * 300, "text", "x" * 200 + "…"),
    ],
)
def test_a_preview_is_one_line(content_type, body, kind, line):
    assert guess(content_type, body) == kind
    assert preview(content_type, body, 1000) == line
