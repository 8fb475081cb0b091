"""The command: what is measured, and where the report goes."""

from __future__ import annotations

import argparse
import select
import signal
import sys
import types
import typing
from collections.abc import Sequence
from pathlib import Path

from benchmarks import markdown
from benchmarks.bench import Bench
from benchmarks.facts import facts
from benchmarks.picture import picture
from benchmarks.results import Table
from benchmarks.settings import Settings
from benchmarks.tables import LONG, SLOW, TABLES

_QUICK_REPEAT, _QUICK_TARGET = 3, 0.06


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 0, 1 if something was lost or has failed, or 130 after Ctrl-C."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        width = max(map(len, TABLES))
        for name, (what, _) in TABLES.items():
            print(f"{name:{width}}  {what}")
        return 0
    if not hasattr(select, "epoll"):
        parser.exit(1, "The sink needs epoll, which only Linux has.\n")
    names = _chosen(parser, options)
    quick = Settings(_QUICK_REPEAT, _QUICK_TARGET, True) if options.quick else Settings()
    settings = Settings(
        repeat=options.repeat or quick.repeat,
        target=options.target or quick.target,
        quick=options.quick,
        pin=options.pin,
        more=tuple(options.contender),
    )
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return _measure(names, settings, options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _measure(names: Sequence[str], settings: Settings, options: argparse.Namespace) -> int:
    tables: dict[str, Table] = {}
    about = facts(settings)
    with Bench(settings) as bench:
        for name in names:
            tables[name] = TABLES[name][1](bench)
    tables = {name: table for name, table in tables.items() if table.rows}
    parts = [
        markdown.head(about, bench.skipped),
        *map(markdown.table, tables.values()),
        markdown.summary(tables),
        markdown.goals(tables),
        markdown.problems(bench.problems),
    ]
    report = "\n".join(filter(None, parts))
    print(report, end="")
    if options.markdown:
        options.markdown.write_text(report)
    if options.svg:
        caption = ["stomp-web, its peers, and the limits", about["Versions"], f"{about['Python']}, {about['Date']}"]
        options.svg.write_text(picture(tables, caption))
    return 1 if bench.problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure stomp-web, its peers and the limits side by side, and print the results as Markdown.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, sizes and contenders: under a minute")
    parser.add_argument(
        "--only", metavar="WORD", action="append", help="only tables with WORD in their name; may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="list the tables, and measure nothing")
    parser.add_argument("--repeat", type=_positive(int), metavar="N", help="rounds of which the median counts; 5")
    parser.add_argument("--target", type=_positive(float), metavar="SECONDS", help="how long a run is to take; 0.2")
    parser.add_argument(
        "--pin",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="the last CPU is for the sink, the others for the contenders (default); or let the system decide",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report there, too")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the tables there")
    parser.add_argument(
        "--contender",
        metavar="MODULE:CLASS",
        action="append",
        default=[],
        help="a contender of your own for the tables about publishing from one thread; see benchmarks/contender.py",
    )
    return parser


def _positive(kind: type[typing.Any]) -> typing.Callable[[str], typing.Any]:
    def convert(text: str) -> typing.Any:
        value = kind(text)
        if value <= 0:
            raise ValueError(text)
        return value

    convert.__name__ = f"positive {kind.__name__}"
    return convert


def _chosen(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[str]:
    words = options.only or [""]
    for word in words:
        if not any(word in name for name in TABLES):
            parser.error(f"no table has {word!r} in its name; --list shows them")
    chosen = [name for name in TABLES if any(word in name for word in words)]
    return [name for name in chosen if (name not in SLOW or not options.quick) and (name not in LONG or name in words)]


def _terminated(_number: int, _frame: types.FrameType | None) -> typing.NoReturn:
    # As Ctrl-C: the processes are ended on the way out.
    raise KeyboardInterrupt
