"""Where and when something was measured: what stands above the tables."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

from benchmarks.settings import Settings

_CONTENDERS = ("stomp-web", "stomp.py", "stompman", "stompest", "flask", "django")


def facts(settings: Settings) -> dict[str, str]:
    """The date, the machine, the versions, and the settings."""
    versions = [f"{name} {version}" for name in _CONTENDERS if (version := version_of(name)) is not None]
    return {
        "Date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Machine": f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} CPUs{_model()}",
        "Load before": ", ".join(f"{load:.2f}" for load in os.getloadavg()) + " (1, 5 and 15 minutes)",
        "Versions": ", ".join(versions),
        "Settings": f"{settings.repeat} rounds, {settings.target:g} s for a run"
        + (", quick" if settings.quick else "")
        + (", the sink on a CPU of its own" if settings.pin else ""),
    }


def version_of(distribution: str) -> str | None:
    """The version of what is installed under this name."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f" ({names[0]})" if names else ""
