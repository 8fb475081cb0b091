#!/usr/bin/env python3
"""Set up a clone of stomp-web and run it. It needs Python 3.11 or newer, and PyPI the first time; nothing else.

    python3 dev.py demo [--keep-running] [--port N]
        Start the development broker and an example web application, send it real HTTP requests, and show each
        message as it arrives. With --keep-running they stay up, to be tried in a browser, until Ctrl-C.

    python3 dev.py test [any arguments of pytest]
        Run the tests, the tests of faults last and alone: four to eight minutes if no other broker is installed.
        Tests that are skipped because a broker is missing are listed. Application servers are restarted only with
        --servers, and the tests of the test harness run only if the variable CI is set, as in the gate. For example:
        python3 dev.py test tests/protocol -x      only these, up to the first failure
        python3 dev.py test --no-brokers           skip real brokers, even if they are installed
        python3 dev.py test --servers              also restart every application server under load
        python3 dev.py test --require-brokers      all tests; a missing broker or server is a failure, not a skip

    python3 dev.py docs
        Build the documentation, with the reference that is generated from the code, into
        docs/_build/html; begin with index.html.

    python3 dev.py check
        Run the checks that a change must pass beside the tests: ruff, mypy, import layers, documentation.

    python3 dev.py release
        Build the sdist and the wheel into dist/, check them as PyPI does, and run tests of the sdist against the
        wheel in a new environment. Nothing is uploaded.

Each command makes what it needs in the folder .venv of this clone, and touches nothing outside the clone. That takes
about a minute the first time, then no time and no network until pyproject.toml changes. To start afresh, delete .venv.
"""

# This file must be readable by every Python, 2.7 included, so that an old one can say in a sentence what is needed:
# no f-strings, no annotations, no unpacking in lists.
from __future__ import print_function

import sys

MINIMUM, NEWEST = (3, 11), (3, 15)  # what is supported, and tested

if sys.version_info < MINIMUM:
    sys.exit(
        "stomp-web needs Python %d.%d or newer; this is %s (%s).\n"
        "Run the command again with a newer one, for example: python3.12 %s"
        % (MINIMUM + (sys.version.split()[0], sys.executable, " ".join(sys.argv)))
    )

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time

# What each command installs (extras of pyproject.toml) and, where it is one program, runs.
EXTRAS = {
    "demo": "demo",
    "test": "test",
    "test everything": "test,servers,release",
    "check": "lint,docs",
    "docs": "docs",
    "release": "test,release",
}
PROGRAMS = {"demo": "example_apps.demo", "test": "pytest", "release": "tests.release.artifacts"}
CHECKS = (
    "ruff check .",
    "ruff format --check .",
    "mypy",
    "lint-imports --no-logo",
    # -E: read everything again. From its cache Sphinx would not repeat a warning, and a second run would be green.
    "sphinx-build -q -E -n -W --keep-going docs docs/_build/html",
)

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
BIN = os.path.join(VENV, "Scripts" if os.name == "nt" else "bin")
PYTHON = os.path.join(BIN, "python.exe" if os.name == "nt" else "python")
# The installed Python, not the one of an active environment: that may be .venv itself, which is replaced.
BASE_PYTHON = getattr(sys, "_base_executable", None) or sys.executable
# The files of dev.py in .venv. A rebuild keeps them.
STATE, CACHE = OURS = ("stomp-web-dev.json", "stomp-web-dev-cache")

NO_VENV = """this Python (%s) cannot make a virtual environment with pip in it.
Debian and Ubuntu keep that in a package of its own. Install it, then run this command again:

    apt-get install python3-venv"""


class Failure(Exception):
    """The command cannot go on; the text says why and what to do."""


# ------------------------------------------------------------------------------------------------- running programs


def variables():
    """Return the environment variables for every program run here: those of .venv, and none that misleads pip."""
    misleading = ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV")
    result = {name: value for name, value in os.environ.items() if name not in misleading}
    result.update(PIP_CACHE_DIR=os.path.join(VENV, CACHE), PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
    result.update(PIP_USER="0", VIRTUAL_ENV=VENV, PATH=BIN + os.pathsep + result.get("PATH", os.defpath))
    return result


def run(command):
    """Run a command on our terminal; return its exit code, or 130 when it was stopped with Ctrl-C."""
    process = subprocess.Popen(command, cwd=ROOT, env=variables())
    interrupted = False
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:  # the program got the Ctrl-C as well, and may take a moment to clean up
            interrupted = True
        except BaseException:  # we are to end: see main()
            process.terminate()
            process.wait()
            raise
    return 130 if interrupted else code if code >= 0 else 128 - code


def run_quietly(command):
    """Run a command without showing its output; return its exit code and output."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, cwd=ROOT, env=variables(), start_new_session=True, **quiet)
    try:
        output = process.communicate()[0].decode("utf-8", "replace")
    except BaseException:  # end it and what it has started, and wait until the last has let go of the output
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
        process.communicate()
        raise
    return process.returncode, output


# -------------------------------------------------------------------------------------------------- the environment


def prepare(command):
    """Prepare .venv for the command: keep it, install missing packages, or make a new one."""
    os.makedirs(VENV, exist_ok=True)
    with only_one():
        state = read_state()
        flaw = find_flaw(state)
        fingerprint = fingerprint_of(EXTRAS[command])
        if flaw is None and state["installed"].get(command) == fingerprint:
            return
        if flaw and state:
            say("The environment in .venv has to be made again: %s." % flaw)
        what = (command, sys.version.split()[0])
        say("Preparing the environment in .venv for `%s`, with Python %s (only now, about a minute) ..." % what)
        started = time.time()
        if flaw is not None:
            make_environment()
            state = dict(identity(), installed={})
        install(command, state, fingerprint)
        say("Ready after %.0f s.\n" % (time.time() - started))


def identity():
    """Return the Python and the folder of an environment: it cannot be used with others."""
    return {"python": "Python %d.%d in %s" % (sys.version_info[:2] + (sys.base_prefix,)), "folder": ROOT}


def fingerprint_of(extras):
    """Return the inputs of the installation: the project's requirements and the requested extras."""
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        return hashlib.sha256(file.read() + extras.encode()).hexdigest()


def find_flaw(state):
    """Return the reason why .venv has to be made or replaced; None if it can be used."""
    if state is None:
        if set(os.listdir(VENV)).difference(OURS):
            raise Failure(
                "%s was not made by dev.py, so it is left alone.\n"
                "Move it away or delete it, then run this command again." % VENV
            )
        return "there is none"
    if state.get("busy"):
        return "the last time it was not finished"
    for key, value in identity().items():
        if state.get(key) != value:
            return "it was made for %s, and this is %s" % (state.get(key), value)
    works = os.path.exists(PYTHON) and run_quietly([PYTHON, "-c", ""])[0] == 0
    return None if works else "its Python does not start any more"


def make_environment():
    """Replace .venv with a new environment that has only pip."""
    write_state(dict(identity(), busy=True))
    for name in set(os.listdir(VENV)).difference(OURS):
        path = os.path.join(VENV, name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.remove(path)
    if not has_module("venv"):
        raise Failure(NO_VENV % BASE_PYTHON)
    complete = has_module("ensurepip")
    code, output = run_quietly([BASE_PYTHON, "-m", "venv"] + ([] if complete else ["--without-pip"]) + [VENV])
    if code:
        raise Failure("the environment in .venv could not be made:\n\n%s" % output)
    if not complete:
        borrow_pip()


def has_module(name):
    """Return whether the module exists; the empty folder of a removed one does not count."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


def borrow_pip():
    """If ensurepip is missing (Debian), install pip into the environment with the system's pip."""
    folder = run_quietly([PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])[1].strip()
    said = ""
    for pip in ([BASE_PYTHON, "-m", "pip"], [shutil.which("pip3")], [shutil.which("pip")]):
        if pip[0] and run_quietly(pip + ["--version"])[0] == 0:
            code, output = run_quietly(pip + ["install", "--target", folder, "pip"])
            if code == 0:
                return
            said += output
    if said:
        raise Failure("the system's pip could not bring a pip into .venv:\n\n%s" % said)
    raise Failure(NO_VENV % BASE_PYTHON)


def install(command, state, fingerprint):
    """Install the project, editable, with the command's extras."""
    write_state(dict(state, busy=True))
    code, output = run_quietly([PYTHON, "-m", "pip", "install", "--editable", ".[%s]" % EXTRAS[command]])
    if code == 0:
        state["installed"][command] = fingerprint
    write_state(state)  # also after a failure: then pip leaves the environment unchanged
    if code:
        raise Failure(
            "pip could not install what `%s` needs. It says:\n\n%s\n"
            "It needs PyPI, or the index it is configured for, this once; then the command works without a network."
            % (command, output)
        )


def read_state():
    """Return the notes of the last run about .venv, or None."""
    try:
        with open(os.path.join(VENV, STATE)) as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def write_state(state):
    """Write the notes atomically."""
    path = os.path.join(VENV, STATE)
    with open(path + ".new", "w") as file:
        json.dump(state, file, indent=1)
    os.replace(path + ".new", path)


@contextlib.contextmanager
def only_one():
    """Lock .venv: `demo` and `test` may run at the same time."""
    if os.name != "posix":
        yield
        return
    import fcntl

    folder = os.open(VENV, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Another dev.py is preparing .venv; waiting for it ...")
        fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(folder)


# ----------------------------------------------------------------------------------------------------- the commands


def run_all(parts):
    """Run every part (a name and a command), even after a failure, and print a line for each."""
    lines, worst = [], 0
    for name, command in parts:
        say("--- %s" % name)
        started = time.time()
        code = run(command)
        if code == 130:
            return code
        worst = worst or code
        lines.append("%s  %s (%.1f s)" % ("FAIL" if code else "PASS", name, time.time() - started))
    say("\n" + "\n".join(lines))
    return worst


def check():
    """Run every check."""
    code = run_all((text, [os.path.join(BIN, text.split()[0])] + text.split()[1:]) for text in CHECKS)
    return code if code == 130 else min(code, 1)


def other_pythons():
    """Return a sentence about the supported Pythons that were not tested here."""
    versions = ["3.%d" % minor for minor in range(MINIMUM[1], NEWEST[1] + 1)]
    here, missing = [], []
    for version in versions:
        if version != "%d.%d" % sys.version_info[:2]:
            # Start it: the name on PATH may be a shim of pyenv for a Python that is not selected.
            found = shutil.which("python" + version)
            works = found and run_quietly([found, "-c", ""])[0] == 0
            (here if works else missing).append(version)
    text = "The tests ran with Python %s." % sys.version.split()[0]
    if here:
        text += " Also on this machine: %s; `tox` runs the tests with them." % ", ".join(here)
    if missing:
        text += " Not on this machine: %s." % ", ".join(missing)
    if {"3.14", "3.15"}.intersection(missing):
        text += " On Debian, .ci/run takes 3.14 and 3.15 from a tree that tests/forky/build.sh makes."
    return text


def test(arguments):
    """Run the whole suite: in several processes if tests/conftest.py allows it, and the tests of faults alone.

    Those measure deadlines, and want the machine for themselves.
    """
    pytest = [PYTHON, "-m", "pytest"]
    code = run_all(
        (
            ("the tests without those of faults", pytest + ["-n", "auto", "--ignore=tests/faults"] + arguments),
            ("the tests of faults", pytest + ["tests/faults"] + arguments),
        )
    )
    if code != 130:
        say(other_pythons())
    return code


def docs():
    """Build the documentation, and print its path."""
    code = run([os.path.join(BIN, "sphinx-build"), "-q", "docs", "docs/_build/html"])
    if code == 0:
        say("The documentation: %s" % os.path.join(ROOT, "docs", "_build", "html", "index.html"))
    return code


def main(arguments):
    """Run one command; return the exit code."""
    command, rest = (arguments or ["--help"])[0], arguments[1:]
    if command in ("-h", "--help", "help"):
        say(__doc__.strip())
        return 0
    commands, without_arguments = ("demo", "test", "docs", "check", "release"), ("docs", "check", "release")
    if command not in commands or (command in without_arguments and rest):
        print("dev.py: there is no command `%s`.\n\n%s" % (" ".join(arguments), __doc__.strip()), file=sys.stderr)
        return 2
    for name in ("SIGTERM", "SIGHUP"):  # raise an exception, which also ends the started programs
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, _: sys.exit(128 + number))
    try:
        whole = command == "test" and set(rest).intersection(("--require-brokers", "--servers"))
        prepare("test everything" if whole else command)
        if command == "test" and not set(rest).difference(("--no-brokers",)):
            return test(rest)
        if command in ("docs", "check"):
            return docs() if command == "docs" else check()
        return run([PYTHON, "-m", PROGRAMS[command]] + rest)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except (Failure, OSError) as error:
        print("dev.py: %s" % error, file=sys.stderr)
        return 1


def say(text):
    """Print and flush: the programs that run here write to the same output."""
    print(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
