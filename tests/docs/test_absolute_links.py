"""The step of a release that makes the links of README absolute, so that they work on PyPI."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import DOCS

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

SCRIPT = DOCS / "absolute_links.py"
README = DOCS.parent / "README.md"
FILES = "https://git.example.org/team/stomp-web/blob/v1.2.3"


@pytest.fixture(scope="module")
def links() -> ModuleType:
    spec = importlib.util.spec_from_file_location("absolute_links", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[a](docs/a.md)", f"[a]({FILES}/docs/a.md)"),
        ("[`a`, b](docs/a.md#part)", f"[`a`, b]({FILES}/docs/a.md#part)"),
        ("[a](LICENSE), [b](docs/b.md).", f"[a]({FILES}/LICENSE), [b]({FILES}/docs/b.md)."),
        ("![a picture](docs/a.svg)", "![a picture](https://git.example.org/team/stomp-web/raw/v1.2.3/docs/a.svg)"),
        ("[a](https://example.org/a.md)", "[a](https://example.org/a.md)"),
        ("[a](mailto:a@example.org)", "[a](mailto:a@example.org)"),
        ("[a](#install)", "[a](#install)"),
        ('stomp.send("/queue/a", {"id": [7]})', 'stomp.send("/queue/a", {"id": [7]})'),
    ],
)
def test_relative_links_become_absolute(links: ModuleType, before: str, after: str) -> None:
    assert links.absolute_links(before, FILES) == links.absolute_links(before, f"{FILES}/") == after


@pytest.mark.parametrize(
    ("files", "raw"),
    [
        ("https://lab.example.org/a/b/-/blob/v1", "https://lab.example.org/a/b/-/raw/v1"),
        ("https://tea.example.org/a/b/src/tag/v1", "https://tea.example.org/a/b/raw/tag/v1"),
    ],
)
def test_pictures_have_the_address_of_the_file_itself(links: ModuleType, files: str, raw: str) -> None:
    assert links.absolute_links("![x](a.png)", files) == f"![x]({raw}/a.png)"


@pytest.mark.parametrize(
    "files", ["", "git.example.org/a/b/blob/v1", "https://git.example.org/a/b", "https://x/a b/blob/v1"]
)
def test_another_address_is_refused(links: ModuleType, files: str) -> None:
    with pytest.raises(ValueError, match="is not the address of the files of a tag"):
        links.absolute_links("[a](b)", files)


def test_after_it_readme_has_no_relative_link_and_is_otherwise_the_same(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / SCRIPT.name).write_text(SCRIPT.read_text())
    before = README.read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(before, encoding="utf-8")
    done = subprocess.run([sys.executable, f"docs/{SCRIPT.name}", FILES], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    after = (tmp_path / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)]+)\)", after)
    assert len(targets) > 30
    assert all(target.startswith("https://") for target in targets)
    assert after.replace(f"{FILES}/", "").replace(f"{FILES.replace('blob', 'raw')}/", "") == before


def test_a_wrong_call_says_how_it_is_called_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / SCRIPT.name).write_text(SCRIPT.read_text())
    (tmp_path / "README.md").write_text("[a](b)")
    for arguments in ([], ["https://git.example.org/a/b"], ["a", "b"]):
        command = [sys.executable, f"docs/{SCRIPT.name}", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2
        assert "https://HOST/OWNER/stomp-web/blob/v1.2.3" in done.stderr
    assert (tmp_path / "README.md").read_text() == "[a](b)"
