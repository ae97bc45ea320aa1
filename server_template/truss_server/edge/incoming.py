"""Bodies of requests that are more than one packet: how large they may be, how fast they come, what all may hold."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING

from truss_server import wire
from truss_server.edge.errors import AnswerError, gone, too_large
from truss_server.edge.pace import SLOWEST, Pace

if TYPE_CHECKING:
    from truss_server.edge.asgi import Message, Receive
    from truss_server.edge.client import Client
    from truss_server.edge.exchange import Exchange
    from truss_server.edge.late import Late

SMALL = 64 * 1024
"""Bytes of a body that is not counted: so many of these as connections can be had."""

ALL = 64 * 1024 * 1024
"""Bytes of all other bodies that the edge holds at once, if one alone may not be larger than that."""

_UPLOAD_MESSAGES = 4  # of at most some 256 KiB each, held for a model that has not begun to read them


class Intake:
    """What all requests share: the limits, and what their bodies hold of the memory there is.

    Args:
        limit: Bytes of one body.
        timeout: Seconds a client may keep the server waiting for its body.
        late: Knows which requests take their time.

    Attributes:
        small: Bytes of a body that is taken as it is.
    """

    def __init__(self, limit: int, timeout: float, late: Late) -> None:
        self.limit = limit
        self.timeout = timeout
        self.late = late
        self.small = min(SMALL, limit)
        self._free = max(ALL, limit)

    def take(self, size: int) -> None:
        """Count bytes that are held.

        Raises:
            AnswerError: 503, there is no room for them.
        """
        if size > self._free:
            text = "the server holds as many bytes of requests as it can"
            raise AnswerError(503, text, ((b"retry-after", b"1"),))
        self._free -= size

    def give(self, size: int) -> None:
        """Count bytes that are not held any more."""
        self._free += size


class Incoming:
    """One body.

    Args:
        client: Sends it.
        intake: What it shares with others.
        least: Bytes that have to come within the timeout.
    """

    def __init__(self, client: Client, intake: Intake, least: float = 1) -> None:
        self._client = client
        self._intake = intake
        self._size = 0
        self._held = 0
        self._pace = Pace(intake.timeout, least, self._on_slow)

    @cached_property
    def _upload(self) -> asyncio.Queue[tuple[bytes, int]]:
        return asyncio.Queue(_UPLOAD_MESSAGES)

    async def gather(self, message: Message, receive: Receive) -> bytes:
        """Return a whole body whose first message has come.

        Raises:
            AnswerError: It is too large or too slow, or the client left.
        """
        parts = []
        while True:
            if message["type"] == "http.disconnect":
                self._client.gone = True
                raise gone()
            if self._client.refusal is not None:
                raise self._client.refusal
            parts.append(self._piece(message))
            if not message.get("more_body"):
                self._pace.close()
                return b"".join(parts)
            message = await receive()

    async def take(self, receive: Receive) -> None:
        """Take a body as fast as the model reads it."""
        while (message := await receive())["type"] != "http.disconnect":
            try:
                body = self._piece(message)
            except AnswerError as exc:
                self._client.end(exc)
                return
            more = message.get("more_body", False)
            self._pace.held = True
            await self._upload.put((body, 0 if more else wire.LAST))
            if not more:
                self._pace.close()
                return
            self._pace.go_on()

    async def pass_on(self, exchange: Exchange) -> None:
        """Send the model what was taken."""
        last = 0
        while not last:
            body, last = await self._upload.get()
            await exchange.send(wire.BODY, body, last)
            self._held -= len(body)
            self._intake.give(len(body))

    def close(self) -> None:
        """Let go of the body: the model has it, or it is not needed any more."""
        self._pace.close()
        self._intake.give(self._held)
        self._held = 0

    def _piece(self, message: Message) -> bytes:
        body: bytes = message.get("body", b"")
        self._pace.came(max(len(body), 1))
        self._size += len(body)
        if self._size > self._intake.limit:
            raise too_large(self._intake.limit)
        self._intake.take(len(body))
        self._held += len(body)
        return body

    def _on_slow(self) -> None:
        self._client.end(AnswerError(408, f"the request body did not come within {self._intake.timeout:g} s"))


def gathered(client: Client, intake: Intake) -> Incoming:
    """Return a body that the edge gathers: it has to come at some speed, while one that is read may only not pause."""
    return Incoming(client, intake, SLOWEST * intake.timeout)
