"""What docs/_ext makes from the code for the reference."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING

import pytest

import stomp_web
from stomp_web import errors
from stomp_web.config import OPTIONS, Option
from stomp_web.connection.dialect import DIALECTS
from stomp_web.worker import Worker
from stomp_web.worker.worker import SETTINGS
from tests.docs.extension import load_extension
from tests.docs.pages import DOCS

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    return load_extension("generated")


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.name)
def test_every_option_has_its_meaning_unit_default_and_names(generated: ModuleType, option: Option) -> None:
    entry = generated.options_text().partition(f"(option-{option.name})=")[2].partition("(option-")[0]
    assert option.meaning.partition("`")[0].rstrip(".") in entry
    assert f"`STOMP_{option.name.upper()}`" in entry
    assert option.unit in entry
    assert "Default: none" in entry or repr(option.default) in entry


def test_an_option_that_was_forgotten_stops_the_build(generated: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    new = Option("colour", str, None, "", "What the messages look like.")
    monkeypatch.setitem(generated.OPTIONS, "colour", new)
    with pytest.raises(ValueError, match="colour"):
        generated.options_text()


def test_every_option_of_a_worker_is_described(generated: ModuleType) -> None:
    text = generated.worker_options_text()
    in_settings, _, in_the_program = text.partition("### In the program only")
    assert all(f"\n`{name}`\n: " in in_settings for name in SETTINGS)
    assert all(
        f"\n`{name}`\n: " in in_the_program for name in ("around", "handlers", "inbox", "initializer", "observers")
    )
    assert "Default: 8" in in_settings
    assert "``" not in text


def test_an_option_of_a_worker_without_a_description_stops_the_build(
    generated: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Worker, "__doc__", (Worker.__doc__ or "").replace("* *grace* - ", "grace: "))
    with pytest.raises(ValueError, match="does not describe grace"):
        generated.worker_options_text()


def test_every_exception_is_in_the_tree(generated: ModuleType) -> None:
    tree = generated.exceptions_text()
    assert all(f"errors.{name}`" in tree for name in errors.__all__)


def test_every_public_name_is_listed_with_a_sentence(generated: ModuleType) -> None:
    lines = generated.names_text("stomp_web").splitlines()
    assert len(lines) == len([name for name in stomp_web.__all__ if not name.startswith("_")])
    assert all(len(line.partition(" - ")[2]) > 10 for line in lines)


def test_every_dialect_is_in_the_table(generated: ModuleType) -> None:
    rows = [row.strip("| ").split(" | ") for row in generated.dialects_text().splitlines()]
    assert rows[0] == [dialect.name for dialect in DIALECTS]
    assert ["ACK of mode `client` takes those of", "all subscriptions", *["its subscription"] * 4] in rows


@pytest.mark.parametrize("command", ["broker", "send", "listen", "worker"])
def test_the_help_of_each_command_is_shown(generated: ModuleType, command: str) -> None:
    assert f"usage: stomp-web {command}" in generated.usage_text(command)


# What a module passes on from another one, whose page describes it.
HANDED_ON = ("Health", "OutboxMessage")
PUBLIC_MODULES = (
    *("client", "pool", "publisher", "serializers", "config", "errors", "observers"),
    *("wsgi", "flask", "django", "broker", "testing", "protocol", "worker", "health", "telemetry"),
)


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_every_public_module_has_a_page_that_describes_all_of_it(name: str) -> None:
    page = (DOCS / "reference" / "api" / f"{name}.md").read_text()
    assert f".. automodule:: stomp_web.{name}\n" in page
    left_out = re.search(rf"automodule:: stomp_web\.{name}\n   :exclude-members: (.*)", page)
    for left in left_out[1].split(", ") if left_out else ():
        assert f"autoclass:: stomp_web.{name}.{left}\n" in page or left in HANDED_ON


@pytest.mark.parametrize("name", ["flask", "django"])
def test_the_page_describes_variables_that_the_package_passes_on(name: str) -> None:
    """``automodule`` leaves them out: their comments are in another module."""
    pytest.importorskip(name)
    package = importlib.import_module(f"stomp_web.{name}")
    page = (DOCS / "reference" / "api" / f"{name}.md").read_text()
    variables = [public for public in package.__all__ if not callable(vars(package)[public])]
    assert {"message_sent", "send_failed"} <= set(variables)
    for variable in variables:
        assert f".. autodata:: stomp_web.{name}.{variable}\n" in page


def test_the_page_of_flask_describes_the_methods_that_the_extension_has_of_a_publisher() -> None:
    page = (DOCS / "reference" / "api" / "flask.md").read_text()
    assert ".. autoclass:: stomp_web.flask.Stomp\n   :inherited-members:\n" in page
