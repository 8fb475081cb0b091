"""The version, in the one place that everything else reads it from (the build, the docs, ``__version__``).

A constant, not a call of :func:`importlib.metadata.version`: that takes longer than importing the whole package.
"""

__version__ = "0.1.0"
