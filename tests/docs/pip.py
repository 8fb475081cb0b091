"""Stands for ``pip`` while pages are run: it installs nothing, and looks whether there is what it was asked for."""

import re
import sys
from pathlib import Path

project = (Path(__file__).parent.parent.parent / "pyproject.toml").read_text()
extras = re.findall(r"^([a-z-]+) = \[", project.partition("[project.optional-dependencies]")[2], re.MULTILINE)

command, *wanted = sys.argv[1:]
if command != "install" or not wanted:
    sys.exit(f"no such command: {sys.argv}")
for each in wanted:
    if each in ("pytest", "flask-sqlalchemy", "flask-migrate", "opentelemetry-sdk", "opentelemetry-instrumentation"):
        continue
    if each in ("django-debug-toolbar", "flask-debugtoolbar"):
        continue
    found = re.fullmatch(r"stomp-web(\[([a-z,]+)\])?", each)
    if found is None:
        sys.exit(f"{each} is not this project")
    for extra in (found[2] or "").split(","):
        if extra and extra not in extras:
            sys.exit(f"there is no extra {extra}")
