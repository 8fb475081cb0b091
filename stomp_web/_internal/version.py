"""The version. It is a constant, because `importlib.metadata.version` takes longer than importing the package."""

__version__ = "0.1.0"
