"""The wire shapes of API families: which path calls which method, and how an error looks there.

Shapes of errors: OpenAI's and Anthropic's API references, sections on errors and streaming.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from truss_server.edge.json_body import dump_json


@dataclass(frozen=True)
class Dialect:
    """One wire shape.

    Attributes:
        name: plain, openai, anthropic or responses.
        framing: How the worker frames objects of a stream: lines, openai, named.
    """

    name: str
    framing: str

    def error(self, status: int, message: Any, extra: dict[str, Any] | None = None) -> bytes:
        """Return the JSON body of an error answer.

        Args:
            status: HTTP status.
            message: Text, or on plain routes any JSON value an author gave as detail.
            extra: More members: request_id, traceback.
        """
        extra = extra or {}
        if self.name == "plain":
            return dump_json({"error": message, **extra})
        text = message if isinstance(message, str) else dump_json(message).decode()
        kind = _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")  # noqa: PLR2004
        if self.name == "anthropic":
            return dump_json({"type": "error", "error": {"type": kind, "message": text, **extra}})
        return dump_json({"error": {"message": text, "type": kind, "param": None, "code": None, **extra}})

    def stream_error(self, status: int, message: Any, extra: dict[str, Any]) -> bytes:
        """Return the server-sent event that tells a stream's client of an error."""
        if self.name == "responses":
            text = message if isinstance(message, str) else dump_json(message).decode()
            body = dump_json({"type": "error", "code": "server_error", "message": text, "param": None})
            return b"event: error\ndata: " + body + b"\n\n"
        prefix = b"event: error\n" if self.name == "anthropic" else b""
        return prefix + b"data: " + self.error(status, message, extra) + b"\n\n"


_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}

PLAIN = Dialect("plain", "lines")
OPENAI = Dialect("openai", "openai")
ANTHROPIC = Dialect("anthropic", "named")
RESPONSES = Dialect("responses", "named")

ROUTES: dict[str, tuple[str, Dialect]] = {
    "/predict": ("predict", PLAIN),
    "/v1/chat/completions": ("chat_completions", OPENAI),
    "/v1/completions": ("completions", OPENAI),
    "/v1/embeddings": ("embeddings", OPENAI),
    "/v1/messages": ("messages", ANTHROPIC),
    "/v1/responses": ("responses", RESPONSES),
}
"""Path -> method of the model, dialect."""
