"""A tree of another Debian release in a folder, whose programs run in it by chroot; see `tests/forky/build.sh`."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.brokers.installed import matching

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VARIABLE = "STOMP_WEB_FORKY"
"""The environment variable that names the folder; `--rabbitmq-root` sets it for the run."""

DEFAULT = "/var/cache/stomp-web/forky"

_RUN = Path(__file__).parents[1] / "forky" / "run.sh"


class Tree:
    """A folder that is the `/` of the programs in it. Paths are given and returned as those programs see them."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or Path(os.environ.get(VARIABLE) or DEFAULT)

    def missing(self) -> str | None:
        """Why no program of the tree can run here, or None."""
        if not self.root.is_dir():
            return f"there is no tree of Debian forky in {self.root}"
        if os.geteuid() != 0:
            return f"only root can run programs of the tree in {self.root}"
        if shutil.which("unshare") is None or shutil.which("chroot") is None:
            return "unshare and chroot are not installed"
        return None

    def matching(self, *patterns: str) -> Iterator[Path]:
        for pattern in patterns:
            for path in matching(f"{self.root}{pattern}"):
                yield Path("/") / path.relative_to(self.root)

    def command(self, command: Sequence[str], directory: Path) -> list[str]:
        """The command as this machine runs it: in the tree and in *directory*, with the folder of temporary files."""
        shared = ["--bind", tempfile.gettempdir()]
        return [str(_RUN), *shared, "--chdir", str(directory), str(self.root), *command]
