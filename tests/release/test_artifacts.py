"""`dev.py release` sees what is wrong with a wheel or an sdist."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.release.artifacts import Artifacts, Flaw, run

PACKAGE = {"stomp_web/__init__.py": b"x = 1\n", "stomp_web/py.typed": b"", "stomp_web/django/a.py": b""}


def checkout(folder: Path, files: dict[str, bytes]) -> Path:
    """The package of a checkout, with these files and with one of Python's own."""
    for name, content in {**files, "stomp_web/__pycache__/a.pyc": b""}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / "stomp_web"


def artifacts(folder: Path, wheel: dict[str, bytes], sdist: dict[str, bytes]) -> Artifacts:
    """A wheel and an sdist with these files."""
    with zipfile.ZipFile(folder / "stomp_web-1.2-py3-none-any.whl", "w") as file:
        for name, content in {**wheel, "stomp_web-1.2.dist-info/METADATA": b"Name: stomp-web\n\n# Hello"}.items():
            file.writestr(name, content)
    with tarfile.open(folder / "stomp_web-1.2.tar.gz", "w:gz") as tar:
        for name, content in {**sdist, "tests/test_a.py": b"", "PKG-INFO": b""}.items():
            member = tarfile.TarInfo(f"stomp_web-1.2/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return Artifacts.in_folder(folder)


def test_a_wheel_with_the_package_of_the_sdist_passes(tmp_path: Path) -> None:
    made = artifacts(tmp_path, PACKAGE, PACKAGE)
    made.check_package(checkout(tmp_path, PACKAGE))
    assert made.metadata()["Name"] == "stomp-web"
    assert made.metadata().get_payload() == "# Hello"


@pytest.mark.parametrize("other", [{}, {"stomp_web/__init__.py": b"x = 2\n"}, {"stomp_web/more.py": b""}])
def test_a_file_that_is_missing_more_or_different_is_named(tmp_path: Path, other: dict[str, bytes]) -> None:
    mine = {**PACKAGE, **other} if other else {"stomp_web/py.typed": b"", "stomp_web/django/a.py": b""}
    name = next(iter(other), "stomp_web/__init__.py")
    with pytest.raises(Flaw, match=f"differ in {name}, or"):
        artifacts(tmp_path, mine, PACKAGE).check_package(checkout(tmp_path, PACKAGE))


@pytest.mark.parametrize("other", [{}, {"stomp_web/__init__.py": b"x = 2\n"}, {"stomp_web/a/more.html": b""}])
def test_a_file_that_is_not_as_in_the_checkout_is_named(tmp_path: Path, other: dict[str, bytes]) -> None:
    mine = {**PACKAGE, **other} if other else {"stomp_web/py.typed": b"", "stomp_web/django/a.py": b""}
    name = next(iter(other), "stomp_web/__init__.py")
    with pytest.raises(Flaw, match=rf"the wheel and the checkout differ in {name}$"):
        artifacts(tmp_path, PACKAGE, PACKAGE).check_package(checkout(tmp_path, mine))


def test_a_package_without_its_marker_for_types_is_a_flaw(tmp_path: Path) -> None:
    without = {"stomp_web/__init__.py": b""}
    with pytest.raises(Flaw, match=r"have no py\.typed"):
        artifacts(tmp_path, without, without).check_package(checkout(tmp_path, without))


def test_the_unpacked_sdist_has_no_package(tmp_path: Path) -> None:
    root = artifacts(tmp_path, PACKAGE, PACKAGE).unpack_sdist(tmp_path)
    assert sorted(path.name for path in root.iterdir()) == ["PKG-INFO", "tests"]


def test_one_of_each_is_needed(tmp_path: Path) -> None:
    artifacts(tmp_path, PACKAGE, PACKAGE)
    (tmp_path / "stomp_web-1.1.tar.gz").touch()
    with pytest.raises(Flaw, match="should have one sdist and one wheel"):
        Artifacts.in_folder(tmp_path)


def test_a_program_that_fails_is_named() -> None:
    with pytest.raises(Flaw, match=r"import sys; sys\.exit\(3\) ended with exit code 3"):
        run(sys.executable, "-c", "import sys; sys.exit(3)")


def test_a_program_does_not_inherit_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    run(sys.executable, "-c", "import os; assert 'PYTHONPATH' not in os.environ")
