"""Links for the names in docstrings: what `Publisher` means in a docstring is what it means in that module's code.

Sphinx knows an object by the one name under which a page describes it. A docstring names it as the code around it
does, and a type annotation by the module that it is defined in. So what Sphinx does not find is looked up as Python
would, and linked if it is one of the objects described. A name of Python, Flask or Django counts as found if it exists,
so that a wrong one is a warning on any machine, without a network.
"""

from __future__ import annotations

import importlib
import sys
import typing

FOREIGN: typing.Final = frozenset(("django", "flask", *sys.builtin_module_names, *sys.stdlib_module_names))


def setup(app: typing.Any) -> dict[str, bool]:
    """Register what is below with Sphinx. After intersphinx, which makes real links of foreign names."""
    app.connect("missing-reference", find_described, priority=600)
    app.connect("missing-reference", accept_foreign, priority=700)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def find_described(app: typing.Any, env: typing.Any, node: typing.Any, contnode: typing.Any) -> typing.Any:
    """The link to the object that a name means where it is written, if a page describes that object."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    domain = env.domains["py"]
    where = [node.get("py:class"), None] if node.get("py:class") else [None]
    for scope in where:
        found = _look_up(target, node.get("py:module"), scope)
        name = None if found is None else _described(env).get(found)
        if name is not None:
            entry = domain.objects[name]
            from sphinx.util.nodes import make_refnode

            return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, name)
    return None


def accept_foreign(app: typing.Any, env: typing.Any, node: typing.Any, contnode: typing.Any) -> typing.Any:
    """The text as it is, if it is the name of something in Python, Flask or Django."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    module = target.partition(".")[0]
    name = target if module in FOREIGN else f"builtins.{target}"
    return None if _import(name) is None else contnode


def _described(env: typing.Any) -> dict[tuple[str, str], str]:
    """What the pages describe: the identity of each object, and its name on the page."""
    known = getattr(env, "_stomp_web_described", None)
    if known is None:
        known = env._stomp_web_described = {}
        for name, entry in env.domains["py"].objects.items():
            if not entry.aliased and (identity := _look_up(name, None, None)) is not None:
                known.setdefault(identity, name)
    return known


def _look_up(target: str, module: str | None, scope: str | None) -> tuple[str, str] | None:
    """The identity (module and qualified name) of what *target* means inside *module* and its class *scope*."""
    prefixes = [f"{module}.{scope}.", f"{module}."] if module and scope else [f"{module}."] if module else []
    for prefix in (*prefixes, ""):
        found = _import(prefix + target)
        if found is not None:
            break
    else:
        found = _in_defining_module(target, module, scope)
    if found is None:
        return None
    owner, name = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    if isinstance(found, property):
        owner, name = found.fget.__module__, found.fget.__qualname__
    return (owner, name) if owner and name else None


def _in_defining_module(target: str, module: str | None, scope: str | None) -> typing.Any:
    """What *target* means in the module in which the class *scope* is defined, which a package only passes on."""
    owner = _import(f"{module}.{scope.partition('.')[0]}") if module and scope else None
    home = getattr(owner, "__module__", None)
    return _import(f"{home}.{target}") if home else None


def _import(name: str) -> typing.Any:
    """The object with this dotted name, or ``None``."""
    module_name, _, rest = name.partition(".")
    try:
        found: typing.Any = importlib.import_module(module_name)
    except (ImportError, ValueError):
        return None
    path = module_name
    for part in rest.split(".") if rest else ():
        path = f"{path}.{part}"
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(path)
            except (ImportError, ValueError):
                return None
        except Exception:  # a lazy object of Django that wants settings
            return None
    return found
