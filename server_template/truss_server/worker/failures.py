"""Exceptions of the model as values for the edge: status, message, and a traceback of the author's own lines."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from truss_server import wire
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
"""Characters of a traceback that are kept."""


def describe(exc: BaseException, root: Path) -> dict[str, Any]:
    """Return the payload of an ERROR frame for what a model raised.

    Args:
        exc: What it raised.
        root: Folder of the release; files in it are named as the package names them.

    Returns:
        `status` (int), and, where it was raised to be an answer (HTTPException), `detail` (plain value for the client)
        and `headers` (list of pairs), else `type`, `message` and `traceback` (str).
    """
    if isinstance(exc, InvalidInputError):
        return {"status": 400, "detail": _cut(str(exc), _MESSAGE), "headers": []}
    try:
        return _answer(exc) if _is_http_exception(exc) else _error(exc, user_traceback(exc, root))
    except Exception as failure:  # noqa: BLE001 - an exception whose own methods raise is an error all the same
        return _error(exc, f"[no traceback: {type(failure).__name__} while it was written]")


def _answer(exc: Any) -> dict[str, Any]:
    """The payload for what was raised to be an answer."""
    status = int(exc.status_code)
    answer = {
        "status": status if 200 <= status <= 599 else 500,  # noqa: PLR2004 - others are no end of a request
        "detail": _detail(exc.detail),
        "headers": [[str(k), str(v)] for k, v in (exc.headers or {}).items()],
    }
    size = len(wire.pack(answer))
    if size > wire.MAX_PAYLOAD:
        raise ValueError(f"an HTTPException of {size} bytes; the limit is {wire.MAX_PAYLOAD}")
    return answer


def _error(exc: BaseException, trace: str) -> dict[str, Any]:
    """The payload for what was raised as an error."""
    try:
        message = str(exc)
    except Exception as failure:  # noqa: BLE001 - see describe
        message = f"[no message: {type(failure).__name__} while it was written]"
    return {
        "status": 500,
        "type": type(exc).__name__,
        "message": _cut(message, _MESSAGE),
        "traceback": trace,
    }


def user_traceback(exc: BaseException, root: Path) -> str:
    """Format an exception, and those that caused it, without the frames of this server."""
    pending: list[BaseException | None] = [exc]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = _skip_ours(one.__traceback__)
            pending += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    text = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__, limit=-_FRAMES))
    text = text.replace(f'File "{root}{os.sep}', 'File "')
    if len(text) > _TRACEBACK:  # by a long message, which stands at the end; the frames are at the beginning
        half = _TRACEBACK // 2
        return f"{text[:half]}\n[{len(text) - _TRACEBACK} characters cut]\n{text[-half:]}"
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
