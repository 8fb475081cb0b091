"""The version, as a constant. `importlib.metadata.version` would take longer than the import of the package."""

__version__ = "0.2.0"
