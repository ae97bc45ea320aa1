"""Turn a Python class with load and predict into a service that streams."""

from truss_server import __version__

__all__ = ["__version__"]
