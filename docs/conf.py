"""How the documentation is built: ``python3 dev.py check`` builds it into docs/_build/html, with warnings as errors."""

import os
import sys
from pathlib import Path

from django.conf import settings

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

from stomp_web._internal.version import __version__

# The reference of stomp_web.django is read from its docstrings, outside of any Django project.
settings.configure(STOMP={"default": {"OPTIONS": {"url": "null://"}}})

project = "stomp-web"
copyright = "2026, The stomp-web developers"
author = "The stomp-web developers"
version = release = __version__

# generated, references, links: in docs/_ext.
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "generated", "references", "links"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_title = f"stomp-web {release}"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

primary_domain = "py"
default_role = "py:obj"  # in docstrings, `Publisher` is a name
add_module_names = False
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
autoclass_content = "class"

# The types of WSGI are in _typeshed, which exists for type checkers only. The providers are of OpenTelemetry.
nitpick_ignore = [
    ("py:class", name)
    for name in ("AnySession", "MeterProvider", "StartResponse", "TracerProvider", "WSGIApplication", "WSGIEnvironment")
]

# Their inventories need a network, so only the published build links the names of other projects.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", None),
    "flask": ("https://flask.palletsprojects.com/en/stable", None),
    "django": ("https://docs.djangoproject.com/en/stable", "https://docs.djangoproject.com/en/stable/_objects/"),
    "sqlalchemy": ("https://docs.sqlalchemy.org/en/20", None),
}
if os.environ.get("READTHEDOCS"):
    extensions.append("sphinx.ext.intersphinx")
