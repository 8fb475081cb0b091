"""Loads the extensions of Sphinx in docs/_ext, which is no package."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from tests.docs.pages import DOCS

if TYPE_CHECKING:
    from types import ModuleType


def load_extension(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / "_ext" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
