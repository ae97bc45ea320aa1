"""Heads on their way through the edge: what is about one connection stays there, everything else is passed on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from truss_server.edge.failures import BODILESS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from truss_server.edge.asks import Ask

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers about one connection, of which there are two."""


def request_head(scope: Mapping[str, Any], ask: Ask | None, *, chunked: bool) -> bytes:
    """Return the head of a request as the server gets it: the client's, less what is about its connection.

    Args:
        scope: ASGI scope; `raw_path` is the route.
        ask: Whose id the server gets.
        chunked: Whether the body has no length.
    """
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    lines = [b"%b %b HTTP/1.1" % (scope["method"].encode(), target)]
    lines += [b"%b: %b" % header for header in request_headers(scope["headers"], ask)]
    lines += [b"transfer-encoding: chunked"] if chunked else []
    return b"\r\n".join(lines) + b"\r\n\r\n"


def request_headers(headers: list[tuple[bytes, bytes]], ask: Ask | None) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request that are for the server, with the id that the edge logs."""
    dropped = HOP_BY_HOP | _named(headers) | {b"expect", b"x-request-id"}
    kept = [header for header in headers if header[0] not in dropped]
    return kept if ask is None else [*kept, (b"x-request-id", ask.request_id.encode("latin-1", "replace"))]


def answer_headers(headers: list[tuple[bytes, bytes]], status: int) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer that are for the client; the edge adds the date."""
    dropped = (
        HOP_BY_HOP | _named(headers) | {b"date"} | ({b"content-length"} if status in BODILESS else set())
    )
    return [header for header in headers if header[0] not in dropped]


def is_framed_plainly(headers: list[tuple[bytes, bytes]]) -> bool:
    """Return whether a body has no coding on its way but the one that the edge undoes: chunks."""
    codings = b",".join(value for name, value in headers if name == b"transfer-encoding")
    return codings.strip().lower() in {b"", b"chunked"}


def _named(headers: list[tuple[bytes, bytes]]) -> set[bytes]:
    """Return the headers that are about the connection because that header says so."""
    values = [value.lower() for name, value in headers if name == b"connection"]
    return {token.strip() for value in values for token in value.split(b",")} - {b"content-length", b"host"}
