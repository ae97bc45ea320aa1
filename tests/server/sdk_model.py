"""A model that answers all five endpoints in the shapes of their APIs; what it is told to do is in the last message."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.helpers import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.harness import Edge

SDK_MODEL = """
import time

import gates


def text_of(inputs):
    messages = inputs.get("messages") or inputs.get("input") or inputs.get("prompt")
    if isinstance(messages, str):
        return messages
    content = messages[-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def words(text):
    for word in text.split(" "):
        if word == "BOOM":
            raise ValueError("no more words")
        if word == "WAIT":
            gates.mark("waiting")
            gates.wait("go-on")
        if word == "FOREVER":
            try:
                while True:
                    time.sleep(0.01)
                    yield "on "
            finally:
                gates.mark(f"stopped {text}")
        yield word + " "


class Model:
    def chat_completions(self, inputs):
        text = text_of(inputs)
        head = {"id": "chatcmpl-1", "created": 1, "model": inputs["model"]}
        if inputs.get("stream"):
            return self.chat_chunks(head, text)
        if text == "BOOM":
            raise ValueError("no more words")
        message = {"role": "assistant", "content": text.upper()}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return {**head, "object": "chat.completion", "choices": [choice], "usage": usage}

    def chat_chunks(self, head, text):
        head = {**head, "object": "chat.completion.chunk"}
        for word in words(text):
            yield {**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
        yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}

    async def completions(self, inputs, request):
        choice = {"index": 0, "text": inputs["prompt"].upper(), "finish_reason": "stop", "logprobs": None}
        head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": inputs["model"]}
        return {**head, "choices": [choice]}

    def embeddings(self, inputs):
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return {"object": "list", "data": data, "model": inputs["model"], "usage": usage}

    def messages(self, inputs):
        text = text_of(inputs)
        message = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": inputs["model"], "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
        }
        if not inputs.get("stream"):
            if text == "BOOM":
                raise ValueError("no more words")
            return {**message, "content": [{"type": "text", "text": text.upper()}], "stop_reason": "end_turn"}
        return self.message_events(message, text)

    def message_events(self, message, text):
        yield {"type": "message_start", "message": message}
        yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        for word in words(text):
            yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        yield {"type": "content_block_stop", "index": 0}
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 3}}
        yield {"type": "message_stop"}

    def responses(self, inputs):
        text = text_of(inputs)
        if not inputs.get("stream"):
            return self.response(inputs, text.upper(), "completed")
        return self.response_events(inputs, text)

    def response(self, inputs, text, status):
        content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
        output = [{"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": content}]
        return {
            "id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": inputs["model"],
            "output": output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        }

    def response_events(self, inputs, text):
        yield {"type": "response.created", "sequence_number": 0, "response": self.response(inputs, "", "in_progress")}
        for number, word in enumerate(words(text), 1):
            yield {
                "type": "response.output_text.delta", "sequence_number": number, "item_id": "msg_1",
                "output_index": 0, "content_index": 0, "delta": word, "logprobs": [],
            }
        done = self.response(inputs, text, "completed")
        yield {"type": "response.completed", "sequence_number": 99, "response": done}
"""


@contextlib.contextmanager
def occupied(edge: Edge) -> Iterator[None]:
    """Have a model that serves one be busy until it has refused somebody."""
    stream = {"model": "m", "messages": [{"role": "user", "content": "WAIT"}], "stream": True}

    def free() -> None:
        wait_until(lambda: retries(edge), 20, what="a refusal")
        edge.gates.open("go-on")

    with edge.asking(stream, "/v1/chat/completions"), ThreadPoolExecutor(1) as pool:
        edge.gates.wait("waiting")
        freed = pool.submit(free)
        yield
        freed.result()


def retries(edge: Edge) -> int:
    """Return how often the server has refused a call because it was busy."""
    return sum(r["status"] == 429 for r in list(edge.records) if "status" in r)
