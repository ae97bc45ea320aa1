"""A model behind OpenAI's chat completions: /v1/chat/completions, plain and streamed."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any


class Model:
    """Repeats what the user said; put a language model in the place of `_reply`."""

    def __init__(self, **kwargs: Any) -> None:
        """Keep the name that answers carry."""
        self._name = kwargs["config"]["model_name"]

    def load(self) -> None:
        """Load weights here; no request is answered before."""

    def chat_completions(self, request: dict[str, Any]) -> dict[str, Any] | Iterator[dict[str, Any]]:
        """Answer a chat; with `stream` in the request, in chunks that the server sends as events."""
        messages = request["messages"]
        words = self._reply(messages)
        head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": request.get("model") or self._name,
        }
        usage = _usage(sum(len(_text(message).split()) for message in messages), len(words))
        if request.get("stream"):
            with_usage = bool((request.get("stream_options") or {}).get("include_usage"))
            return _chunks(head, words, usage if with_usage else None)
        message = {"role": "assistant", "content": "".join(words)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {**head, "object": "chat.completion", "choices": [choice], "usage": usage}

    def predict(self, request: dict[str, Any]) -> dict[str, Any] | Iterator[dict[str, Any]]:
        """Answer the same requests on /predict."""
        return self.chat_completions(request)

    def _reply(self, messages: list[dict[str, Any]]) -> list[str]:
        """Return the answer to a chat, word by word."""
        said = [_text(message) for message in messages if message.get("role") == "user"]
        words = f"You said: {said[-1] if said else ''}".split(" ")
        return [words[0], *(f" {word}" for word in words[1:])]


def _text(message: dict[str, Any]) -> str:
    """Return the text of a message, whose content is a text or a list of parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _usage(prompt: int, completion: int) -> dict[str, int]:
    """Return how much was read and written; a real model counts tokens."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _chunks(head: dict[str, Any], words: list[str], usage: dict[str, int] | None) -> Iterator[dict[str, Any]]:
    """Yield an answer in OpenAI's chunks: the role, the words, the reason why it ends."""
    head = {**head, "object": "chat.completion.chunk"}
    deltas: list[dict[str, str]] = [
        {"role": "assistant", "content": ""},
        *({"content": word} for word in words),
    ]
    for delta in deltas:
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if usage is not None:
        yield {**head, "choices": [], "usage": usage}
