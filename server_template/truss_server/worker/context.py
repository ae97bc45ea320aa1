"""Which call the code that is running belongs to."""

from __future__ import annotations

from contextvars import ContextVar

current_stream: ContextVar[int] = ContextVar("truss_stream", default=0)
"""Number of the call's stream; 0 outside of calls."""
