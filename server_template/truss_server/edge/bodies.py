"""Bodies at the edge: JSON, or msgpack for clients that speak it, to and from what crosses the wire.

JSON is read by msgspec, which keeps integers of any size, and written by orjson, which is faster with numbers. Where
the worker can, it reads large bodies and writes answers itself, with the same: `truss_server.worker.json_library`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from truss_server import wire
from truss_server.edge.errors import AnswerError
from truss_server.edge.json_body import dump_json

if TYPE_CHECKING:
    from truss_server.edge.exchange import Exchange

_JSON = b"application/json"
_MSGPACK = b"application/octet-stream"

_decode = msgspec.json.Decoder().decode


def parse_body(body: bytes, *, binary: bool) -> bytes:
    """Return the inputs in a request body, marshalled.

    Raises:
        AnswerError: 400, it is no JSON or no msgpack.
    """
    if binary:
        return _parse_msgpack(body)
    try:
        return wire.pack(_decode(body))
    except (ValueError, RecursionError) as exc:
        raise AnswerError(400, f"Invalid JSON payload: {exc}") from exc


def _parse_msgpack(body: bytes) -> bytes:
    import msgpack

    try:
        value = msgpack.unpackb(body, strict_map_key=False)
        return wire.pack(value)
    except (ValueError, TypeError, msgpack.UnpackException) as exc:  # TypeError: a key no dictionary can have
        raise AnswerError(400, f"Invalid msgpack payload: {str(exc) or type(exc).__name__}") from exc


def render_answer(exchange: Exchange, data: bytes, *, binary: bool) -> tuple[bytes, bytes]:
    """Return the content type and the body of an answer that is one value.

    Args:
        exchange: Brought it.
        data: All of its bytes.
        binary: Whether msgpack is wanted.

    Raises:
        AnswerError: 500, a number in it is too large for the format.
    """
    return (_JSON, data) if exchange.json else render_value(wire.unpack(data), binary=binary)


def render_value(value: Any, *, binary: bool) -> tuple[bytes, bytes]:
    """Return the content type and the body of an answer.

    Raises:
        AnswerError: 500, a number in it is too large for the format.
    """
    try:
        if not binary:
            return _JSON, dump_json(value)
        import msgpack

        return _MSGPACK, msgpack.packb(value)
    except (ValueError, OverflowError) as exc:
        raise AnswerError(500, f"the model's answer has no such form: {exc}") from exc
