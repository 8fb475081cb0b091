"""What PyPI shows of the project: its links, and the README, whose links lead somewhere from there, too."""

from __future__ import annotations

import re
import tomllib
import typing
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="hatchling is not installed: python3 dev.py release brings it")
pytest.importorskip("readme_renderer", reason="readme-renderer is not installed: python3 dev.py release brings it")

import readme_renderer.markdown
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

import hatch_build

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TABLE = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]
REPOSITORY = "https://code.invalid/shop/stomp-web"
OPTIONS = hatch_build.Options({**TABLE, "repository": REPOSITORY}, "1.2")
FILES, PICTURES = f"{REPOSITORY}/blob/v1.2", f"{REPOSITORY}/raw/v1.2"


def metadata(**table: str) -> ProjectMetadata[typing.Any]:
    """What hatchling makes of pyproject.toml, if the table of the hook has these texts."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    config["tool"]["hatch"]["metadata"]["hooks"]["custom"].update(table)
    return ProjectMetadata(str(ROOT), PluginManager(), config)


def rendered(text: str) -> list[str]:
    """The targets of the links and pictures of the Markdown *text*, as PyPI renders it.

    A link without a text is the one that a heading has to itself.
    """
    html = readme_renderer.markdown.render(text)
    assert html is not None
    return re.findall(r'(?:href|src)="([^"]*)"(?![^>]*></a>)', html)


def absolute(text: str) -> str:
    return hatch_build.with_absolute_links(text, OPTIONS)


def test_with_an_address_every_link_and_picture_is_absolute() -> None:
    found = metadata(repository=REPOSITORY)
    targets = rendered(found.core.readme)
    assert len(targets) > 3
    assert [target for target in targets if not target.startswith(("https://", "http://"))] == []
    assert len(targets) == len(rendered(README))
    assert len([target for target in targets if target.startswith(REPOSITORY)]) > 3
    assert f"{FILES.replace('1.2', found.version)}/docs/" in found.core.readme


def test_what_is_linked_is_there() -> None:
    for target in rendered(absolute(README)):
        for start in (FILES, PICTURES):
            if target.startswith(start):
                path = target.removeprefix(start).partition("#")[0].strip("/")
                assert (ROOT / path).exists(), target


def test_with_an_address_pypi_has_links_of_the_project() -> None:
    urls = metadata(repository=REPOSITORY).core.urls
    assert set(urls) == {"Source", "Documentation", "Changelog", "Issues"}
    assert all(address.startswith(REPOSITORY) for address in urls.values())


def test_without_an_address_the_readme_is_as_it_is() -> None:
    found = metadata(repository="")
    assert (found.core.readme, found.core.urls) == (README, {})
    assert found.core.readme_content_type == "text/markdown"


def test_code_is_the_same_with_absolute_links() -> None:
    blocks = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    assert blocks.findall(absolute(README)) == blocks.findall(README)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](docs/a.md)", f"[a]({FILES}/docs/a.md)"),
        ("[a](./docs/a.md#part)", f"[a]({FILES}/docs/a.md#part)"),
        ("[a](<docs/a.md>)", f"[a](<{FILES}/docs/a.md>)"),
        ('[a](docs/a.md "A title")', f'[a]({FILES}/docs/a.md "A title")'),
        ("[`a`](docs/a.md)", f"[`a`]({FILES}/docs/a.md)"),
        ("[a](#install)", f"[a]({FILES}/README.md#install)"),
        ("![a](docs/a.png)", f"![a]({PICTURES}/docs/a.png)"),
        ("[![a](a.svg)](docs/a.md)", f"[![a]({PICTURES}/a.svg)]({FILES}/docs/a.md)"),
        ("[a]: docs/a.md\n", f"[a]: {FILES}/docs/a.md\n"),
        ('<img src="a.PNG" alt="">', f'<img src="{PICTURES}/a.PNG" alt="">'),
        ('<a href="example_apps/">', f'<a href="{FILES}/example_apps/">'),
        ("<img src='a.png'>", f"<img src='{PICTURES}/a.png'>"),
        ('<IMG SRC = "a.png">', f'<IMG SRC = "{PICTURES}/a.png">'),
        ("[a](<docs/a b.md>)", f"[a](<{FILES}/docs/a b.md>)"),
        ("[a]: <docs/a b.png>\n", f"[a]: <{PICTURES}/docs/a b.png>\n"),
        ("[a](docs/a_(b).md)", f"[a]({FILES}/docs/a_(b).md)"),
        ("[a](/docs/a.md)", f"[a]({FILES}/docs/a.md)"),
        ("![a](a.svg?raw=1#b)", f"![a]({PICTURES}/a.svg?raw=1#b)"),
        ("[a](?plain=1)", f"[a]({FILES}/README.md?plain=1)"),
        (
            '<source srcset="a.png 1x, b.png 2x,https://a.invalid/c.png 3x">',
            f'<source srcset="{PICTURES}/a.png 1x, {PICTURES}/b.png 2x, https://a.invalid/c.png 3x">',
        ),
        ('<source srcset="a.png">', f'<source srcset="{PICTURES}/a.png">'),
    ],
)
def test_a_relative_target_becomes_an_address(text: str, expected: str) -> None:
    assert absolute(text) == expected


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("[a](../a.md)", "../a.md"),
        ("[a](./../a.md)", "./../a.md"),
        ("[a](docs/a_((b)).md)", "docs/a_((b)).md"),
        ("<img alt='' src=a.png>", "a.png"),
        ('<a class="b" href=docs/a.md>', "docs/a.md"),
        ('<img src="docs/a b.png">', "docs/a b.png"),
    ],
)
def test_a_relative_target_that_the_build_cannot_change_is_refused(text: str, target: str) -> None:
    with pytest.raises(ValueError, match=rf"^README\.md has the link {re.escape(repr(target))}, which .* write"):
        absolute(text)


@pytest.mark.parametrize(
    "text",
    [
        "[a](https://a.invalid/b)",
        "[a](mailto:a@b.invalid)",
        '<img src="https://a.invalid/b.png">',
        "`[a](b.md)` and ``[a](`b.md)``",
        "```markdown\n[a](b.md)\n```\n",
        "~~~~\n```\n[a](b.md)\n~~~~\n",
        "<!-- [a](b.md) -->",
        "f[0](x y)",
        "<img src=https://a.invalid/b.png>",
        "[a](https://a.invalid/b_((c)).md)",
    ],
)
def test_what_is_no_relative_target_is_left_alone(text: str) -> None:
    assert absolute(text) == text


def test_a_backtick_alone_hides_no_link() -> None:
    assert absolute("one ` here\n\n[a](b.md) `c`") == f"one ` here\n\n[a]({FILES}/b.md) `c`"


@pytest.mark.parametrize("address", ["code.invalid/a", "http://code.invalid/a", "https://code.invalid", "https:///a"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="write its public"):
        hatch_build.Options({**TABLE, "repository": address}, "1.2")


@pytest.mark.parametrize("table", [{}, {"repository": ""}, {**TABLE, "repository": 7}, {**TABLE, "readme": ""}])
def test_an_option_that_is_missing_or_unknown_is_refused(table: dict[str, typing.Any]) -> None:
    with pytest.raises(ValueError, match="it needs the texts repository, file and picture"):
        hatch_build.Options(table, "1.2")
