"""Exceptions of the model as values for the edge: status, message, and a traceback of the author's own lines."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from truss_server.worker.encode import UnserializableError, plain
from truss_server.worker.inputs import InvalidInputError

if TYPE_CHECKING:
    from types import TracebackType

_OURS = str(Path(__file__).resolve().parent)

_MESSAGE = 8 * 1024
"""Characters of a message that are kept: a model may raise 100 MB, a frame and a reader have limits."""

_FRAMES = 40
"""Frames of one exception that are kept, the innermost: a recursion has a thousand."""

_TRACEBACK = 32 * 1024
"""Characters of a traceback that are kept, at its end: that is where the error is."""


def describe(exc: BaseException, root: Path) -> dict[str, Any]:
    """Return the payload of an ERROR frame for what a model raised.

    Args:
        exc: What it raised.
        root: Folder of the release; files in it are named as the package names them.

    Returns:
        `status` (int), `detail` (plain value for the client), `headers` (list of pairs), and, unless it was raised
        to be an answer (HTTPException), `type`, `message` and `traceback` (str).
    """
    if isinstance(exc, InvalidInputError):
        return {"status": 400, "detail": _cut(str(exc), _MESSAGE), "headers": []}
    if _is_http_exception(exc):
        return {
            "status": int(getattr(exc, "status_code", 500)),
            "detail": _detail(getattr(exc, "detail", "")),
            "headers": [[str(k), str(v)] for k, v in (getattr(exc, "headers", None) or {}).items()],
        }
    return {
        "status": 500,
        "type": type(exc).__name__,
        "message": _cut(str(exc), _MESSAGE),
        "traceback": user_traceback(exc, root),
    }


def user_traceback(exc: BaseException, root: Path) -> str:
    """Format an exception, and those that caused it, without the frames of this server."""
    seen: BaseException | None = exc
    while seen is not None:
        seen.__traceback__ = _skip_ours(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__
    text = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__, limit=-_FRAMES))
    text = text.replace(f'File "{root}{os.sep}', 'File "')
    if len(text) > _TRACEBACK:
        return f"[{len(text) - _TRACEBACK} characters cut]\n" + text[-_TRACEBACK:]
    return text


def _skip_ours(trace: TracebackType | None) -> TracebackType | None:
    """Drop the leading frames that lie in this server or in the import machinery."""
    at = trace
    while at is not None and (
        at.tb_frame.f_code.co_filename.startswith(_OURS)
        or at.tb_frame.f_code.co_filename.startswith("<frozen importlib")
        or at.tb_frame.f_globals.get("__name__") == "importlib"
    ):
        at = at.tb_next
    return at


def _is_http_exception(exc: BaseException) -> bool:
    return any(
        c.__module__ == "starlette.exceptions" and c.__name__ == "HTTPException" for c in type(exc).__mro__
    )


def _detail(detail: Any) -> Any:
    try:
        return plain(detail, "detail")
    except UnserializableError:
        return _cut(str(detail), _MESSAGE)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... [{len(text) - limit} characters cut]"
