"""Exceptions of the model as values for the edge: status, message, and a traceback of the author's own lines."""

from __future__ import annotations

import contextlib
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from truss_server import wire
from truss_server.worker.encode import UnsendableError, UnserializableError, plain
from truss_server.worker.heads import OURS
from truss_server.worker.inputs import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_OURS = str(Path(__file__).resolve().parent)

_MESSAGE = 8 * 1024
"""Characters of a message that are kept: a model may raise 100 MB, a frame and a reader have limits."""

_FRAMES = 40
"""Frames of one exception that are kept, the innermost: a recursion has a thousand."""

_TRACEBACK = 32 * 1024
"""Characters of a traceback that are kept."""


def describe(exc: BaseException, roots: Sequence[Path], *, answers: bool = True) -> dict[str, Any]:
    """Return the payload of an ERROR frame for what a model raised.

    Args:
        exc: What it raised.
        roots: Folders of the release's versions; files in them are named as the package names them.
        answers: Whether an HTTPException is an answer; on a websocket it is an error like any other.

    Returns:
        `status` (int), and, where its text is meant for the client (HTTPException, say), `detail` (plain value) and
        `headers` (list of pairs), else `type`, `message` and `traceback` (str).
    """
    if isinstance(exc, InvalidInputError):
        return {"status": 400, "detail": _cut(str(exc), _MESSAGE), "headers": []}
    if isinstance(exc, UnsendableError):
        detail = f"the model's answer cannot be sent: {_cut(str(exc), _MESSAGE)}"
        return {"status": 500, "detail": detail, "headers": []}
    if answers and _is_http_exception(exc):
        with contextlib.suppress(Exception):  # one that makes no answer is an error like any other
            answer = _answer(exc)
            if len(wire.pack(answer)) <= wire.MAX_PAYLOAD:
                return answer
    return {
        "status": 500,
        "type": type(exc).__name__,
        "message": _cut(_written(lambda: str(exc)), _MESSAGE),
        "traceback": _written(lambda: user_traceback(exc, roots)),
    }


def _answer(exc: Any) -> dict[str, Any]:
    status = int(exc.status_code)
    return {
        "status": status if 200 <= status <= 599 else 500,  # noqa: PLR2004 - others are no end of a request
        "detail": _detail(exc.detail),
        "headers": [[str(k), str(v)] for k, v in (exc.headers or {}).items() if str(k).lower() not in OURS],
    }


def _written(write: Callable[[], str]) -> str:
    """Return what `write` gives; the author's methods, which it calls, may raise."""
    try:
        return write()
    except Exception as failure:  # noqa: BLE001 - that they raise must not hide that there was an error
        return f"[{type(failure).__name__} while this was written]"


def user_traceback(exc: BaseException, roots: Sequence[Path]) -> str:
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
    for root in roots:
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
