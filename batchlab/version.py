"""The version of this package: said here, read everywhere else (`pyproject.toml` too)."""

__version__ = "0.1.0"
