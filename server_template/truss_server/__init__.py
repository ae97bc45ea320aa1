"""The server that every truss model runs in: an edge that speaks HTTP, a worker that holds the model."""

__version__ = "0.1.0"
