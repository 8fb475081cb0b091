"""How long ``import`` takes, and what comes with it."""

from __future__ import annotations

import json
import subprocess
import sys
import time

from benchmarks.bench import Bench
from benchmarks.children import ROOT
from benchmarks.results import Cell, Table

EMPTY = "an empty interpreter"
WEB = "import stomp_web"
TIME, MORE, OTHERS = "time", "more than empty", "modules that are not the standard library's"
_LEAST = 10  # interpreters
_PROGRAMS = {
    EMPTY: ("pass", None),
    WEB: ("import stomp_web", None),
    "import stomp": ("import stomp", "stomp.py"),
    "import stompman": ("import stompman", "stompman"),
    "import stompest.sync": ("import stompest.sync", "stompest"),
    "import flask": ("import flask", "flask"),
    "import django": ("import django; django.setup", "django"),
}


def imports(bench: Bench) -> Table:
    rounds = max(_LEAST, bench.settings.repeat)
    table = Table(
        "import",
        "Import",
        f"The median of {rounds} fresh interpreters, from their start to their end, taking turns.",
        [TIME, MORE, OTHERS],
        ["ms", "ms", ""],
        first_heading="program",
    )
    names = [EMPTY, WEB] if bench.settings.quick else list(_PROGRAMS)
    names = [name for name in names if bench.has(name, _PROGRAMS[name][1])]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    failed: dict[str, str] = {}
    for number in range(1, rounds + 1):
        for name in names if number % 2 else reversed(names):
            bench.progress(f"import: round {number} of {rounds}: {name}")
            if name not in failed:
                began = time.perf_counter()
                done = _run(_PROGRAMS[name][0])
                seconds[name].append(time.perf_counter() - began)
                if done.returncode:
                    failed[name] = done.stderr.strip().splitlines()[-1]
    known = set(_modules("pass"))
    for name in names:
        if name in failed:
            table.put(name, TIME, Cell(failed=failed[name]))
            if name in (EMPTY, WEB):
                bench.problem(f"import: {name}: {failed[name]}")
            continue
        table.put(name, TIME, Cell(seconds[name]))
        table.put(name, MORE, Cell([mine - empty for mine, empty in zip(seconds[name], seconds[EMPTY], strict=True)]))
        own = name.removeprefix("import ").partition(".")[0]
        others = [module for module in _modules(_PROGRAMS[name][0]) if module not in known and module != own]
        table.put(name, OTHERS, Cell([float(len(others))], text=", ".join(others) or "none"))
    return table


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def _modules(code: str) -> list[str]:
    """The top-level modules that are there after *code*, but those of the standard library."""
    look = "; import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    return [
        name
        for name in json.loads(_run(code + look).stdout)
        if name not in sys.stdlib_module_names and name != "__main__"
    ]
