"""What a client is told of an error in the model, and what the log keeps of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from truss_server.edge.errors import AnswerError

if TYPE_CHECKING:
    from truss_server.edge.asks import Ask
    from truss_server.edge.dialects import Dialect
    from truss_server.edge.logs import Log

SERVER_ERROR = 500

BODILESS = (204, 304)
"""Statuses of answers that have no body."""

_OURS = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"trailer", b"te")
)
"""Headers that say how an answer is framed, which its author cannot know."""

_CODES = {400: b"700", 404: b"700", 503: b"600"}
"""Truss's numbers for kinds of errors, by status."""

_MODEL = b"600"
_OTHER = b"500"


def render_error(error: AnswerError, dialect: Dialect, ask: Ask) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the headers and the body of an error answer."""
    body = dialect.error(error.status, error.message, {**error.extra, "request_id": ask.request_id})
    code = _MODEL if error.of_model else _CODES.get(error.status, _OTHER)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", ask.request_id.encode("latin-1", "replace")),
        (b"x-baseten-error-source", b"04"),
        (b"x-baseten-error-code", code),
    ]
    given = [header for header in error.headers if header[0] not in _OURS]
    names = {name for name, _ in given}
    if error.status in BODILESS:
        names |= {b"content-type", b"content-length"}
        body = b""
    return [header for header in headers if header[0] not in names] + given, body


def answer_for(error: dict[str, Any], ask: Ask, log: Log, *, development: bool) -> AnswerError:
    """Log an error of the model and return the answer it becomes.

    Args:
        error: Payload of ERROR.
        ask: The request it belongs to.
        log: Keeps it.
        development: Whether the client may see the traceback.
    """
    if "traceback" not in error:
        headers = tuple((_header(name).lower(), _header(value)) for name, value in error["headers"])
        if error["status"] >= SERVER_ERROR:
            log.write("ERROR", str(error["detail"]), **ask.log_fields)
        return AnswerError(error["status"], error["detail"], headers, of_model=True)
    text = f"{error['type']}: {error['message']}"
    log.write(
        "ERROR",
        f"the model raised {text}",
        source="worker",
        exc_info=error["traceback"],
        **ask.log_fields,
    )
    if development:
        return AnswerError(SERVER_ERROR, text, extra={"traceback": error["traceback"]}, of_model=True)
    text = f"the model raised {error['type']}; its log has the traceback"
    return AnswerError(SERVER_ERROR, text, of_model=True)


def _header(text: str) -> bytes:
    """A name or value an author gave, on one line and in the bytes HTTP has."""
    return " ".join(text.split()).encode("latin-1", "replace")
