"""Answers that come in pieces: passed on as they come, or gathered; and how they end where they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from truss_server.edge.bodies import render_value
from truss_server.edge.errors import AnswerError
from truss_server.edge.failures import BODILESS, answer_for
from truss_server.edge.logs import AbortedTransferError

if TYPE_CHECKING:
    from truss_server.edge.client import Client
    from truss_server.edge.exchange import Exchange
    from truss_server.edge.logs import Log
    from truss_server.edge.metrics import Stopwatch
    from truss_server.edge.patience import Patience

GATHERED = 64 * 1024 * 1024
"""Bytes of a stream that is gathered into one document; the others have no limit."""

_EVENT_ENDS = (b"\n\n", b"\r\r", b"\r\n\r\n")


async def gather(client: Client, exchange: Exchange, log: Log, patience: Patience, development: bool) -> None:
    """Send a stream as one JSON document."""
    head = exchange.head or {}
    parts, size = [], 0
    while part := await exchange.more():
        patience.touch()
        size += len(part)
        if size > GATHERED:
            exchange.abandon()
            raise _blame(client, log, f"the stream has more than {GATHERED} bytes, too many for one document")
        parts.append(part)
        exchange.consumed(len(part))
    if client.gone:
        return
    check(client, exchange, log, development=development)
    data = b"".join(parts)
    if head["content_type"] == "application/x-ndjson":
        body = b"[" + b",".join(data.splitlines()) + b"]"
    else:
        _, body = render_value(data.decode("utf-8", "replace"), binary=False)
    await client.respond(body)


class Passing:
    """A stream on its way to the client.

    Args:
        client: Takes it.
        exchange: The call that gives it.
        patience: Loses it where either is too slow.
        watch: Times chunks.
        sent: What has been passed on, with the head.
    """

    def __init__(
        self, client: Client, exchange: Exchange, patience: Patience, watch: Stopwatch, sent: bytes = b""
    ) -> None:
        self._client = client
        self._exchange = exchange
        self._patience = patience
        self._watch = watch
        self._last = sent

    async def run(self, log: Log, *, development: bool) -> None:
        """Pass on the answer.

        Raises:
            AbortedTransferError: It broke after its head was sent.
        """
        client, exchange = self._client, self._exchange
        status, headers = _opening(exchange.head or {})
        if not self._last:
            await client.start(status, headers)
        await self._body(bare=status in BODILESS)
        if client.gone:
            return
        try:
            check(client, exchange, log, development=development)
        except AnswerError as exc:
            client.status = exc.status
            if dict(headers).get(b"content-type", b"").startswith(b"text/event-stream"):
                await self._tell(exc)
            raise AbortedTransferError from exc
        await client.send({"type": "http.response.body", "body": b""})

    async def _body(self, *, bare: bool) -> None:
        client, exchange, patience = self._client, self._exchange, self._patience
        while data := await exchange.more():
            self._watch.chunk()
            patience.sending()
            if not bare:
                await client.send({"type": "http.response.body", "body": data, "more_body": True})
            patience.touch()
            exchange.consumed(len(data))
            self._last = data

    async def _tell(self, error: AnswerError) -> None:
        """Say in an event why there will be no more of them."""
        client = self._client
        extra = {**error.extra, "request_id": client.ask.request_id}
        event = client.ask.dialect.stream_error(error.status, error.message, extra)
        if self._last and not self._last.endswith(_EVENT_ENDS):
            event = b"\n\n" + event  # the model stopped within one
        await client.send({"type": "http.response.body", "body": event, "more_body": True})


def _opening(head: dict[str, Any]) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Return status and headers of a stream, or of a response the author made."""
    if head["kind"] != "response":
        content_type = head["content_type"] or "application/octet-stream"
        return 200, [(b"content-type", content_type.encode("latin-1"))]
    return head["status"], [header for header in head["headers"] if header[0].lower() != b"x-request-id"]


def _blame(client: Client, log: Log, text: str) -> AnswerError:
    """Log what is wrong with an answer of the model; return what the client is told."""
    log.write("ERROR", text, **client.ask.log_fields)
    return AnswerError(500, text, of_model=True)


def check(client: Client, exchange: Exchange, log: Log, *, development: bool) -> None:
    """Raise what the client is to be told where an answer did not come to a good end.

    Raises:
        AnswerError: The request was refused meanwhile, or the call failed.
    """
    if client.refusal is not None:
        raise client.refusal
    if exchange.error is not None:
        raise answer_for(exchange.error, client.ask, log, development=development)
