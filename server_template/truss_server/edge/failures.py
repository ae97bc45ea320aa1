"""What a client is told of an error in the model, and what the log keeps of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from truss_server.edge.client import AnswerError

if TYPE_CHECKING:
    from truss_server.edge.asks import Ask
    from truss_server.edge.logs import Log

SERVER_ERROR = 500


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
            log.write("ERROR", str(error["detail"]), request_id=ask.request_id)
        return AnswerError(error["status"], error["detail"], headers)
    text = f"{error['type']}: {error['message']}"
    log.write(
        "ERROR",
        f"the model raised {text}",
        source="worker",
        request_id=ask.request_id,
        exc_info=error["traceback"],
    )
    extra = {"request_id": ask.request_id}
    if development:
        return AnswerError(SERVER_ERROR, text, extra={"traceback": error["traceback"], **extra})
    return AnswerError(
        SERVER_ERROR, f"the model raised {error['type']}; its log has the traceback", extra=extra
    )


def _header(text: str) -> bytes:
    """A name or value an author gave, on one line and in the bytes HTTP has."""
    return " ".join(text.split()).encode("latin-1", "replace")
