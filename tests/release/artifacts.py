"""Builds the sdist and the wheel of a release into dist/, and tries them: ``python3 dev.py release``.

The metadata must be what PyPI accepts, and both must have the package of the checkout. Then the wheel is installed into
a new environment, and tests of the unpacked sdist run there. No module of the package is in that folder, so that they
can test only the wheel.
"""

from __future__ import annotations

import email
import email.message
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import typing
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "stomp_web"
DIST = ROOT / "dist"
#: Seconds for each program.
LIMIT = 600.0
# Tests that need no other broker, of all layers; those of the panels, which have a template beside their modules; and
# those of the README, with Flask and Django.
TESTS = (
    "tests/protocol",
    "tests/client",
    "tests/publisher",
    "tests/serializers",
    "tests/panels",
    "tests/django/test_debug_toolbar.py",
    "tests/flask/test_debug_toolbar.py",
    "tests/test_errors.py",
    "tests/test_readme.py",
)
# They look into the folder of the package.
NOT_THOSE = ("tests/test_readme.py::test_commands_and_extras_exist",)
_MISLEADING = ("PYTHONHOME", "PYTHONPATH", "PYTEST_ADDOPTS", "DJANGO_SETTINGS_MODULE", "VIRTUAL_ENV", "STOMP_URL")


class Flaw(Exception):
    """The release cannot go out; the text says why."""


class Artifacts(typing.NamedTuple):
    """The two files of a release."""

    sdist: Path
    wheel: Path

    @classmethod
    def in_folder(cls, folder: Path) -> Artifacts:
        """Return those in *folder*, which has one of each. Raises `Flaw`."""
        found = [sorted(folder.glob(f"{PACKAGE}-*{ending}")) for ending in (".tar.gz", ".whl")]
        if [len(each) for each in found] != [1, 1]:
            names = ", ".join(path.name for each in found for path in each) or "none"
            raise Flaw(f"{folder} should have one sdist and one wheel, and has {names}")
        return cls(found[0][0], found[1][0])

    def metadata(self) -> email.message.Message:
        """Return the metadata of the wheel, in which the body is the long description."""
        with zipfile.ZipFile(self.wheel) as wheel:
            (name,) = (each for each in wheel.namelist() if each.endswith(".dist-info/METADATA"))
            return email.message_from_string(wheel.read(name).decode("utf-8"))

    def check_package(self, checkout: Path = ROOT / PACKAGE) -> None:
        """Compare the package in the wheel with those in the sdist and in *checkout*, byte by byte. Raises `Flaw`."""
        with zipfile.ZipFile(self.wheel) as wheel:
            ours = {each: wheel.read(each) for each in wheel.namelist() if each.startswith(f"{PACKAGE}/")}
        theirs = {}
        with tarfile.open(self.sdist) as sdist:
            for member in sdist.getmembers():
                path = member.name.partition("/")[2]
                content = sdist.extractfile(member)
                if path.startswith(f"{PACKAGE}/") and content is not None:
                    theirs[path] = content.read()
        different = _different(ours, theirs)
        if different or f"{PACKAGE}/py.typed" not in ours:
            raise Flaw(f"the wheel and the sdist differ in {', '.join(different) or 'nothing'}, or have no py.typed")
        files = (path for path in checkout.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        different = _different(
            ours, {path.relative_to(checkout.parent).as_posix(): path.read_bytes() for path in files}
        )
        if different:
            raise Flaw(f"the wheel and the checkout differ in {', '.join(different)}")

    def unpack_sdist(self, folder: Path) -> Path:
        """Unpack the sdist without its package, and return its root."""
        with tarfile.open(self.sdist) as sdist:
            (root,) = {member.name.partition("/")[0] for member in sdist.getmembers()}
            others = (each for each in sdist.getmembers() if not each.name.startswith(f"{root}/{PACKAGE}/"))
            sdist.extractall(folder, others, filter="data")
        return folder / root


def _different(ours: dict[str, bytes], theirs: dict[str, bytes]) -> list[str]:
    return sorted(path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path))


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run a program, without variables that lead it to another Python. Raises `Flaw` if it fails.

    Programs that it starts by their names are those of its own environment.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    environment["PATH"] = os.pathsep.join([str(Path(command[0]).parent), environment.get("PATH", os.defpath)])
    line = " ".join(map(str, command))
    try:
        code = subprocess.run(command, cwd=cwd, env=environment, timeout=LIMIT).returncode
    except subprocess.TimeoutExpired:
        raise Flaw(f"{line} took longer than {LIMIT:.0f} s") from None
    if code:
        raise Flaw(f"{line} ended with exit code {code}")


def try_tests(artifacts: Artifacts, folder: Path) -> None:
    """Install the wheel in a new environment in *folder*, and run tests of the sdist with it. Raises `Flaw`."""
    root = artifacts.unpack_sdist(folder)
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", f"{artifacts.wheel}[test]")
    run(python, "-c", f"import {PACKAGE} as p; assert 'site-packages' in p.__file__, p.__file__", cwd=root)
    without = [f"--deselect={each}" for each in NOT_THOSE]
    run(python, "-m", "pytest", "-q", "-n", "auto", "--no-brokers", *without, *TESTS, cwd=root)


def main() -> int:
    """Return the exit code: 0 if the artifacts can be uploaded."""
    began = time.monotonic()
    try:
        DIST.mkdir(exist_ok=True)
        for old in DIST.glob(f"{PACKAGE}-*"):
            old.unlink()
        run(sys.executable, "-m", "pytest", "-q", "tests/release")
        run(sys.executable, "-m", "build", "--outdir", DIST)
        artifacts = Artifacts.in_folder(DIST)
        run(sys.executable, "-m", "twine", "check", "--strict", *artifacts)
        artifacts.check_package()
        with tempfile.TemporaryDirectory(prefix="stomp-web-release-") as folder:
            try_tests(artifacts, Path(folder))
    except Flaw as flaw:
        print(f"\nThis cannot be released: {flaw}", file=sys.stderr)
        return 1
    print(f"\nReady after {time.monotonic() - began:.0f} s:", *artifacts, sep="\n  ")
    if artifacts.metadata().get_all("Project-URL") is None:
        print(
            "pyproject.toml names no repository, so that the links of the README would lead nowhere on PyPI: see "
            "CONTRIBUTING.md, Release."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
