"""Links for the names in docstrings: `Publisher` in a docstring means the same as in the code of its module.

Sphinx knows an object only by the name under which a page describes it. A docstring uses the name of the surrounding
code, and a type annotation the defining module. So names that Sphinx does not find are looked up as Python would, and
linked if they are described objects.

A name that cannot be linked must exist: a parameter, a field or an attribute in the docstring, a name of
that module, or of Python, Flask or Django. So a wrong name is a warning on any machine, without a network.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import typing

FOREIGN: typing.Final = frozenset(("django", "flask", *sys.builtin_module_names, *sys.stdlib_module_names))

#: Modules that are imported for annotations only, under a name of their own.
IMPORTED_AS: typing.Final = {"ssl_": "ssl", "ssl_module": "ssl"}
#: Classes that a user never calls: the library makes their objects. Their docstrings list the attributes.
NOT_CALLED: typing.Final = frozenset(
    "Batch Dialect Fault Faults Health Observers Option Options OutboxMessage PoolChanged PoolStats PublisherStats "
    "SendBegan SendDeferred SendFailed SendSucceeded StompState Transaction WorkerStats".split()
)
#: Modules whose docstring goes on about how they are built, and how many of its paragraphs are for users.
FOR_USERS: typing.Final = {
    "stomp_web.client": 0,
    "stomp_web.pool": 0,
    "stomp_web.publisher": 0,
    "stomp_web.worker": 0,
    "stomp_web.broker": 4,
}

_DEEP = 4  # dots in a name: `stomp_web.client.PublishClient.send` is too common a name to guess


def setup(app: typing.Any) -> dict[str, bool]:
    """Register what is below with Sphinx. After intersphinx, which makes real links of foreign names."""
    app.connect("missing-reference", find_described, priority=600)
    app.connect("missing-reference", accept_known, priority=700)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("autodoc-process-docstring", shorten_docstring)
    app.connect("autodoc-process-docstring", describe_data)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def find_described(app: typing.Any, env: typing.Any, node: typing.Any, contnode: typing.Any) -> typing.Any:
    """The link to the object that a name means where it is written, if a page describes that object."""
    if node.get("refdomain") != "py":
        return None
    target = _plain(node["reftarget"])
    described = _described(env)
    name = None
    for scope in dict.fromkeys((node.get("py:class"), None)):
        found = _look_up(target, node.get("py:module"), scope)
        name = name or described.get(_identity(found))
    if name is None:
        # A docstring may name what its module does not import: an exception that comes from further down.
        named_so = {name for name in described.values() if name.endswith("." + target) and name.count(".") < _DEEP}
        if len(named_so) != 1:
            return None
        name = named_so.pop()
    from sphinx.util.nodes import make_refnode

    entry = env.domains["py"].objects[name]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, name)


def accept_known(app: typing.Any, env: typing.Any, node: typing.Any, contnode: typing.Any) -> typing.Any:
    """The text as it is, if it names something that no page describes, but that exists."""
    if node.get("refdomain") != "py":
        return None
    target = _plain(node["reftarget"])
    foreign = target if target.partition(".")[0] in FOREIGN else f"builtins.{target}"
    known = (
        _import(foreign) is not None
        or _look_up(target, node.get("py:module"), node.get("py:class")) is not None
        or target in _attributes(env)
    )
    return contnode if known else None


def shorten_signature(
    app: typing.Any, what: str, name: str, obj: typing.Any, options: typing.Any, signature: str | None, returns: str
) -> tuple[str, str] | None:
    """No arguments for the classes that no user calls, and no ``<factory>``, which Sphinx cannot read."""
    if name.rpartition(".")[2] in NOT_CALLED:
        return "", ""
    return (signature.replace("<factory>", "..."), returns) if signature and "<factory>" in signature else None


def shorten_docstring(
    app: typing.Any, what: str, name: str, obj: typing.Any, options: typing.Any, lines: list[str]
) -> None:
    """Only the first paragraphs of a module's docstring, where the others are for those who work on it."""
    if what == "module" and name in FOR_USERS:
        paragraphs = "\n".join(lines).split("\n\n")[: FOR_USERS[name]]
        lines[:] = [*"\n\n".join(paragraphs).splitlines(), ""]


def describe_data(
    app: typing.Any, what: str, name: str, obj: typing.Any, options: typing.Any, lines: list[str]
) -> None:
    """The ``#:`` comment of a module's variable, also where the page names it after a package that passes it on."""
    if what != "data":
        return
    from sphinx.pycode import ModuleAnalyzer

    package, _, variable = name.rpartition(".")
    for module in [each for each in sys.modules if each == package or each.startswith(package + ".")]:
        comment = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", variable))
        if comment and getattr(sys.modules[module], variable, None) is obj:
            lines[:] = comment


def _plain(target: str) -> str:
    """*target* without the parentheses of a call, and with the real names of modules imported for annotations only."""
    target = target.removesuffix("()")
    first, dot, rest = target.partition(".")
    return f"{IMPORTED_AS.get(first, first)}{dot}{rest}"


def _attributes(env: typing.Any) -> set[str]:
    """The parameters, fields and instance attributes of everything that the pages describe."""
    known = getattr(env, "_stomp_web_attributes", None)
    if known is None:
        known = env._stomp_web_attributes = set()
        for name in env.domains["py"].objects:
            found = _import(name)
            if inspect.isclass(found):
                known.update(*(getattr(base, "__annotations__", ()) for base in found.__mro__))
                for base in found.__mro__:
                    if base.__module__.startswith("stomp_web."):
                        known.update(re.findall(r"\bself\.([a-z]\w*)\b[^=\n]*=(?!=)", inspect.getsource(base)))
            if callable(found):
                known.update(_parameters(found))
    return known


def _parameters(function: typing.Callable[..., object]) -> typing.Iterable[str]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return ()


def _described(env: typing.Any) -> dict[tuple[str, str] | None, str]:
    """What the pages describe: the identity of each object, and its name on the page."""
    known = getattr(env, "_stomp_web_described", None)
    if known is None:
        known = env._stomp_web_described = {}
        for name, entry in env.domains["py"].objects.items():
            if not entry.aliased and (identity := _identity(_import(name))) is not None:
                known.setdefault(identity, name)
    return known


def _identity(found: typing.Any) -> tuple[str, str] | None:
    """Module and qualified name of where an object is defined: the same, whichever module passes it on."""
    if isinstance(found, property):
        found = found.fget
    owner, name = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    return (owner, name) if isinstance(owner, str) and isinstance(name, str) else None


def _look_up(target: str, module: str | None, scope: str | None) -> typing.Any:
    """What *target* means in *module* and its class *scope*, or in the module that class was defined in."""
    places = [f"{module}.{scope}.{target}"] if module and scope else []
    if module:
        places.append(f"{module}.{target}")
        home = getattr(_import(f"{module}.{scope}"), "__module__", None) if scope else None
        places.append(f"{home}.{target}")
    return next((found for place in (*places, target) if (found := _import(place)) is not None), None)


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
        except Exception:  # noqa: BLE001 - a lazy object of Django that wants settings
            return None
    return found
