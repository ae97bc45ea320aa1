"""HTTP by hand, for tests that look at connections: what is sent, what comes, and how it ends."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    import socket


def request_bytes(path: str, value: Any = None, *, body: bytes | None = None, headers: str = "") -> bytes:
    """Return an HTTP request as it goes over the wire.

    Args:
        path: To post to.
        value: The body, as JSON.
        body: Instead of `value`.
        headers: More lines, each with its end.
    """
    data = json.dumps(value).encode() if body is None else body
    return (
        f"POST {path} HTTP/1.1\r\nhost: tested\r\n{headers}content-length: {len(data)}\r\n\r\n".encode()
        + data
    )


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    """Read from a socket until `mark` has come.

    Raises:
        AssertionError: The server closed the connection before.
    """
    data = b""
    while mark not in data:
        chunk = sock.recv(65536)
        assert chunk, f"closed after {data!r}"
        data += chunk
    return data


def read_to_end(sock: socket.socket) -> bytes:
    """Read from a socket until the server closes it."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := sock.recv(65536):
            data += chunk
    return data


def read_error(response: httpx.Response) -> Any:
    """Return the body of an error answer without its request id.

    Raises:
        AssertionError: The id is missing, or is not the one in the headers.
    """
    body = response.json()
    holder = body if "request_id" in body else body["error"]
    assert holder.pop("request_id") == response.headers["x-request-id"]
    return body


def read_broken(response: httpx.Response) -> bytes:
    """Read a stream that breaks and return what came before.

    Raises:
        AssertionError: It ended as if it were complete.
    """
    received = b""
    try:
        for chunk in response.iter_raw():
            received += chunk
    except httpx.RemoteProtocolError:
        return received
    raise AssertionError(f"a clean end after {received!r}")
