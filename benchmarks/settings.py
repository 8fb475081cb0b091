"""How long and how often: the settings of one run of the command."""

from __future__ import annotations

import dataclasses

KIB = 1024
MIB = 1024 * KIB
SIZES = (200, KIB, 10 * KIB, MIB)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the command line asks for.

    * `repeat` - rounds; the median of these counts.
    * `target` - seconds that one run is to take. Sockets without TCP_NODELAY stall once for about 40 ms at the end of
      a run, so that a shorter one understates them.
    * `pin` - the sink has the last CPU for itself, and the contenders have the others. Without it the system puts them
      where it likes, and may let two that wait for each other share one CPU, which is faster than it would be between
      two machines.
    * `quick` - fewer sizes and shorter inputs; what the goals need is always there.
    * `more` - contenders of the user's own, as ``module:Class``, for the tables about publishing.
    """

    repeat: int = 5
    target: float = 0.2
    quick: bool = False
    pin: bool = True
    more: tuple[str, ...] = ()

    def sizes(self, *quick: int) -> tuple[int, ...]:
        """The sizes of bodies in bytes: all, or those named if the run is to be quick."""
        return quick if self.quick else SIZES


def size_name(size: int) -> str:
    """*size* bytes, for people."""
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size} B"
