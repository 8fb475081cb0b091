"""The version: a constant, because `importlib.metadata.version` takes longer than importing the whole package."""

__version__ = "0.1.0"
