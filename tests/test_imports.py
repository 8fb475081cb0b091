"""What `import stomp_web` gives, and what it does not bring along."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import stomp_web


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    return done.stdout.strip()


# What is behind every public name, and not only the package's front.
EVERYTHING = "from stomp_web import *"


def test_every_public_name_is_there():
    for name in stomp_web.__all__:
        assert hasattr(stomp_web, name)
        assert name in dir(stomp_web)


def test_a_name_is_the_same_object_wherever_it_is_imported_from():
    for name in stomp_web.__all__:
        value = getattr(stomp_web, name)
        assert getattr(stomp_web, name) is value
        if isinstance(value, type):
            assert getattr(sys.modules[value.__module__], name) is value


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'stomp_web' has no attribute 'Publischer'"):
        _ = stomp_web.Publischer
    assert not hasattr(stomp_web.client, "Publisher")


@pytest.mark.parametrize("module", ["client", "config", "errors", "observers", "pool", "protocol", "serializers"])
def test_the_modules_of_the_core_are_attributes(module):
    assert run(f"import stomp_web; print(stomp_web.{module}.__name__)") == f"stomp_web.{module}"


def test_importing_the_package_loads_nothing_that_is_not_used():
    loaded = run(
        "import sys; before = set(sys.modules); import stomp_web; print(*sorted(set(sys.modules) - before))"
    ).split()
    assert set(loaded) == {
        "__future__",
        "stomp_web",
        *(f"stomp_web._internal{part}" for part in ("", ".lazy")),
    }


def test_who_only_sends_does_not_load_what_receives():
    code = "import sys; from stomp_web import Publisher; print('stomp_web.client.duplex' in sys.modules)"
    assert run(code) == "False"


def test_the_core_has_the_names_of_its_contract():
    wanted = "Frame FrameBuffer Message PublishClient PublishClientPool Publisher QueueingDuplexClient"
    assert {*wanted.split(), "PublishSubscribeClient", "StompError"} <= set(stomp_web.__all__)


def test_importing_the_core_loads_only_the_standard_library():
    # Not by sys.stdlib_module_names alone: CPython 3.15 leaves out what is generated when it is built.
    others = run(
        f"import sys, sysconfig; before = set(sys.modules); {EVERYTHING}; "
        "tops = {name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names; "
        "folders = {sysconfig.get_path('stdlib'), sysconfig.get_path('platstdlib')}; "
        "is_foreign = lambda name: sys.modules[name].__file__.rpartition('/')[0] not in folders; "
        "print(*sorted(filter(is_foreign, tops - {'stomp_web'})))"
    )
    assert others == ""


def test_importing_the_core_does_not_load_what_few_need():
    few = {"ssl", "asyncio", "subprocess", "stomp_web.broker", "stomp_web.testing"}
    assert run(f"import sys; {EVERYTHING}; print(*{few} & set(sys.modules))") == ""


def test_importing_and_making_a_publisher_starts_no_thread_and_opens_no_socket():
    assert (
        run(
            "import threading, socket\n"
            "def never(*args, **kwargs): raise AssertionError('a socket was opened')\n"
            "import stomp_web\n"
            "socket.socket.__init__ = never\n"
            "stomp_web.Publisher('stomp://localhost:1'); stomp_web.PublishClientPool('stomp://localhost:1')\n"
            "stomp_web.PublishClient(); stomp_web.QueueingDuplexClient(); stomp_web.PublishSubscribeClient()\n"
            "print(threading.active_count())"
        )
        == "1"
    )


def test_the_library_is_silent_unless_logging_was_set_up():
    done = subprocess.run(
        [sys.executable, "-c", f"import logging; {EVERYTHING}; logging.getLogger('stomp_web.client').error('loud')"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize(
    "made", ["stomp_web.Publisher('memory://', telemetry=True)", "worker.Worker('stomp://x?telemetry=1')"]
)
def test_telemetry_without_its_package_is_an_error_that_names_the_extra(made):
    error = run(
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import stomp_web; from stomp_web import worker\n"
        f"try: {made}\n"
        "except stomp_web.ConfigurationError as error: print(error.option, error)"
    )
    assert error == "telemetry telemetry needs OpenTelemetry, which is not installed: pip install 'stomp-web[otel]'"


def test_the_collector_without_its_package_is_an_error_that_names_the_extra():
    error = run(
        "import sys; sys.modules['prometheus_client'] = None\n"
        "import stomp_web\n"
        "try: from stomp_web.telemetry.prometheus import Collector\n"
        "except stomp_web.ConfigurationError as error: print(error)"
    )
    expected = "telemetry needs prometheus_client, which is not installed: pip install 'stomp-web[prometheus]'"
    assert error == expected
