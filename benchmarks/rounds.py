"""Taking turns: A B C, C B A, A B C, and so on, so that what the machine does meanwhile happens to all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from benchmarks.bench import Bench, Counter, Lost
from benchmarks.case import Case
from benchmarks.children import LONGEST_RUN, CannotDo, ChildFailed, TooSlow
from benchmarks.outcome import Outcome
from benchmarks.results import Cell

LARGEST_STEP = 50


@dataclasses.dataclass(frozen=True)
class Entry:
    """Who does what for which cell.

    * `contender` - ``module:Class``. `ours` - whether its failure makes the whole run fail.
    * `first` - with how many calls to begin calibrating; `most` - how many to do at the most; `fixed` - no calibration.
    * `limit` - seconds for a run.
    """

    row: str
    column: str
    contender: str
    case: Case
    ours: bool = False
    first: int = 4
    most: int = 5_000_000
    fixed: int = 0
    limit: float = LONGEST_RUN
    counter: Counter | None = None


@dataclasses.dataclass
class Series:
    """The outcomes of one entry, one for each round; or why there are none."""

    outcomes: list[Outcome] = dataclasses.field(default_factory=list)
    failed: str | None = None

    def values(self, value: Callable[[Outcome], float]) -> list[float]:
        return [] if self.failed else [value(outcome) for outcome in self.outcomes]


def rate(outcome: Outcome) -> float:
    """Units in a second."""
    return outcome.units / outcome.seconds


def pace(outcome: Outcome) -> float:
    """Seconds for one unit."""
    return outcome.seconds / outcome.units


def alternate(
    bench: Bench, title: str, entries: Sequence[Entry], repeat: int | None = None
) -> dict[tuple[str, str], Series]:
    """Let *entries* take turns for all rounds. Those that cannot do the task at all are left out."""
    repeat = bench.settings.repeat if repeat is None else repeat
    series: dict[tuple[str, str], Series] = {}
    counts: dict[Entry, int] = {}
    for entry in entries:
        bench.contender(entry.contender)  # all begin to import now, side by side
    for entry in entries:
        bench.progress(f"{title}: {entry.row}, {entry.column}: calibrating")
        try:
            counts[entry] = entry.fixed or calibrate(bench, entry)
        except CannotDo:
            continue
        except ChildFailed as problem:
            _note(bench, title, entry, series, problem)
        else:
            series[entry.row, entry.column] = Series()
    order = list(counts)
    for number in range(1, repeat + 1):
        for entry in order:
            one = series[entry.row, entry.column]
            if one.failed is None:
                bench.progress(f"{title}: round {number} of {repeat}: {entry.row}, {entry.column}")
                try:
                    one.outcomes.append(run(bench, entry, counts[entry]))
                except CannotDo:
                    del series[entry.row, entry.column]
                    counts.pop(entry)
                except ChildFailed as problem:
                    _note(bench, title, entry, series, problem)
        order = [entry for entry in reversed(order) if entry in counts]
    return series


def run(bench: Bench, entry: Entry, count: int) -> Outcome:
    """Do the case *count* times. Raises `ChildFailed`, and `Lost` if the other end has counted something else."""
    counter = entry.counter or bench.count
    counter.reset()
    outcome = bench.contender(entry.contender).run(entry.case, count, entry.limit)
    counter.compare(outcome)
    return outcome


def calibrate(bench: Bench, entry: Entry) -> int:
    """How many calls take as long as a run is to take."""
    target = bench.settings.target
    count = min(entry.first, entry.most)
    while True:
        busy = max(run(bench, entry, count).busy, 1e-6)
        wanted = max(round(count * target / busy), 1)
        if busy >= target / 4 or count >= entry.most or wanted <= count:
            return min(wanted, entry.most)
        count = min(wanted, count * LARGEST_STEP, entry.most)


def _note(bench: Bench, title: str, entry: Entry, series: dict[tuple[str, str], Series], problem: ChildFailed) -> None:
    words = f"> {entry.limit:g} s" if isinstance(problem, TooSlow) else str(problem)
    series[entry.row, entry.column] = Series(failed=words)
    if entry.ours or isinstance(problem, Lost):
        bench.problem(f"{title}: {entry.row}, {entry.column}: {words}")


def cell(series: Series, value: Callable[[Outcome], float], limit: Series | None = None) -> Cell:
    """The cell for *series*, with ratios to *limit*, round by round."""
    values = series.values(value)
    references = limit.values(value) if limit is not None else []
    return Cell(
        values,
        [mine / reference for mine, reference in zip(values, references, strict=False)],
        series.failed,
    )
