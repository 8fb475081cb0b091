"""Lazy imports (PEP 562): a package loads a name at the first use. This module imports nothing, to stay fast."""

from __future__ import annotations

__all__ = ["loader"]

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the time that loading typing takes
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, MutableMapping
    from typing import Any


def loader(
    package: MutableMapping[str, Any], homes: Mapping[str, Iterable[str]], modules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` of a package.

    *package* is the result of ``globals()`` in the package. *homes* maps a module of the package to names that the
    module defines. If two modules define a name, the later module wins. *modules* are the names of submodules that
    become attributes of the package.
    """
    here: str = package["__name__"]
    home_of = {name: module for module, names in homes.items() for name in names}

    def load(name: str) -> Any:
        import importlib

        if name in home_of:
            package[name] = value = getattr(importlib.import_module(f".{home_of[name]}", here), name)
            return value
        if name in modules:
            try:
                return importlib.import_module(f".{name}", here)
            except ModuleNotFoundError as error:
                if error.name != f"{here}.{name}":  # the submodule exists, but a module that it imports is missing
                    raise
        raise AttributeError(f"module {here!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*package, *home_of, *modules})

    return load, names
