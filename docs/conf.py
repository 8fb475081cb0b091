"""How the documentation is built: ``python3 dev.py check`` builds it into docs/_build/html, with warnings as errors."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings

sys.path.insert(0, str(Path(__file__).parent.parent))

from stomp_web._version import __version__

settings.configure()  # the reference of stomp_web.django is read from its docstrings, outside of any Django project

project = "stomp-web"
copyright = "2026, The stomp-web developers"
author = "The stomp-web developers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"stomp-web {release}"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}
autoclass_content = "class"

# Names of other projects. Their inventories need a network, so only the published build links them; everywhere else
# known_elsewhere() looks whether the name exists, so that a wrong one is found on any machine.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", None),
    "flask": ("https://flask.palletsprojects.com/en/stable", None),
    "django": ("https://docs.djangoproject.com/en/stable", "https://docs.djangoproject.com/en/stable/_objects/"),
}
if os.environ.get("READTHEDOCS"):
    extensions.append("sphinx.ext.intersphinx")

FOREIGN = {"django", "flask", *sys.builtin_module_names, *sys.stdlib_module_names}


def known_elsewhere(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Accept a reference to a name of Python, Flask or Django, if there is such a name."""
    if node.get("refdomain") != "py":
        return None
    module, *names = node["reftarget"].split(".")
    if module not in FOREIGN:  # a builtin, such as `bytes`
        module, names = "builtins", [module, *names]
    found = importlib.import_module(module)
    for name in names:
        try:
            found = getattr(found, name)
        except AttributeError:
            try:
                found = importlib.import_module(f"{found.__name__}.{name}")
            except (AttributeError, ImportError):
                return None
    return contnode


def setup(app: Any) -> None:
    """Register what is above with Sphinx."""
    app.connect("missing-reference", known_elsewhere)
