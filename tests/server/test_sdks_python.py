"""The stock OpenAI and Anthropic SDKs against a model that implements the five endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import openai
import pytest

from tests.server.sdk_model import SDK_MODEL, occupied, retries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.harness import Edge, Servers


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve the model once for all tests."""
    return module_servers.start(SDK_MODEL)


@pytest.fixture
def client(edge: Edge) -> Iterator[openai.OpenAI]:
    """Give OpenAI's client, without retries."""
    with open_openai(edge) as one:
        yield one


@pytest.fixture
def claude(edge: Edge) -> Iterator[anthropic.Anthropic]:
    """Give Anthropic's client, without retries."""
    with open_anthropic(edge) as one:
        yield one


@pytest.fixture
def busy(servers: Servers) -> Edge:
    """Serve the model to one caller at a time, none of whom may wait."""
    return servers.start(SDK_MODEL, runtime={"predict_concurrency": 1, "max_queue": 0})


def open_anthropic(edge: Edge, max_retries: int = 0) -> anthropic.Anthropic:
    """Return Anthropic's client for a server."""
    return anthropic.Anthropic(
        base_url=f"http://127.0.0.1:{edge.port}",
        api_key="none",
        max_retries=max_retries,
        http_client=httpx2.Client(trust_env=False),
    )


def open_openai(edge: Edge, max_retries: int = 0) -> openai.OpenAI:
    """Return OpenAI's client for a server."""
    return openai.OpenAI(
        base_url=f"http://127.0.0.1:{edge.port}/v1",
        api_key="none",
        max_retries=max_retries,
        http_client=httpx2.Client(trust_env=False),
    )


def chat(text: str) -> list[Any]:
    """Return a chat of one message."""
    return [{"role": "user", "content": text}]


def test_openai_lists_the_model(client: openai.OpenAI) -> None:
    """`models.list()` names the served model."""
    assert [model.id for model in client.models.list()] == ["tested"]


def test_openai_plain(client: openai.OpenAI) -> None:
    """Chat, completions, embeddings and responses come back as the SDK's own types."""
    completion = client.chat.completions.create(model="m", messages=chat("fast bird"))
    text = client.completions.create(model="m", prompt="fast bird")
    vectors = client.embeddings.create(model="m", input="fast bird", encoding_format="float")
    response = client.responses.create(model="m", input="fast bird")

    assert completion.choices[0].message.content == "FAST BIRD"
    assert text.choices[0].text == "FAST BIRD"
    assert vectors.data[0].embedding == [0.5, -0.25]
    assert response.output_text == "FAST BIRD"


def test_openai_streams(client: openai.OpenAI) -> None:
    """Chunks of a chat and events of a response arrive one by one and end."""
    chunks = list(client.chat.completions.create(model="m", messages=chat("a b c"), stream=True))
    events = list(client.responses.create(model="m", input="a b", stream=True))

    assert [chunk.choices[0].delta.content for chunk in chunks] == ["a ", "b ", "c ", None]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert ["response.created", *["response.output_text.delta"] * 2, "response.completed"] == [
        event.type for event in events
    ]


def test_openai_streams_as_the_model_yields(edge: Edge, client: openai.OpenAI) -> None:
    """The first chunk is with the client before the model has made the second."""
    stream = iter(client.chat.completions.create(model="m", messages=chat("first WAIT"), stream=True))

    assert next(stream).choices[0].delta.content == "first "
    edge.gates.open("go-on")
    assert next(stream).choices[0].delta.content == "WAIT "


def test_openai_errors(client: openai.OpenAI) -> None:
    """An exception of the model is the SDK's error, before the stream and within it."""
    with pytest.raises(openai.InternalServerError, match="ValueError"):
        client.chat.completions.create(model="m", messages=chat("BOOM"))
    with pytest.raises(openai.InternalServerError, match="ValueError"):
        client.chat.completions.create(model="m", messages=chat("BOOM"), stream=True)
    stream = client.chat.completions.create(model="m", messages=chat("a b BOOM"), stream=True)
    seen: list[str | None] = []
    with pytest.raises(openai.APIError, match="ValueError"):
        seen.extend(chunk.choices[0].delta.content for chunk in stream)

    assert seen == ["a ", "b "]


def test_openai_responses_errors(client: openai.OpenAI) -> None:
    """A response that fails in its stream makes itself known."""
    stream = client.responses.create(model="m", input="a BOOM", stream=True)

    events: list[Any] = []
    with pytest.raises((openai.APIError, httpx2.RemoteProtocolError)):
        events.extend(stream)

    assert "response.completed" not in [event.type for event in events]


def test_openai_cancels(edge: Edge, client: openai.OpenAI) -> None:
    """Closing the stream closes the model's generator."""
    stream = client.chat.completions.create(model="m", messages=chat("openai FOREVER"), stream=True)
    next(iter(stream))
    stream.close()

    edge.gates.wait("stopped openai FOREVER")


def test_openai_retries_when_busy(busy: Edge) -> None:
    """The SDK's own retry, by the Retry-After it is given, succeeds once the model is free."""
    with occupied(busy), open_openai(busy, max_retries=9) as client:
        completion = client.chat.completions.create(model="m", messages=chat("fast"))

    assert completion.choices[0].message.content == "FAST"
    assert retries(busy) > 0


def test_anthropic_retries_when_busy(busy: Edge) -> None:
    """So does Anthropic's."""
    with occupied(busy), open_anthropic(busy, max_retries=9) as client:
        message = client.messages.create(model="m", max_tokens=9, messages=chat("fast"))

    assert message.content[0].text == "FAST"  # type: ignore[union-attr]
    assert retries(busy) > 0


def test_anthropic_plain_and_streamed(claude: anthropic.Anthropic) -> None:
    """A message comes whole, and as the events the SDK's stream helper understands."""
    whole = claude.messages.create(model="m", max_tokens=9, messages=chat("fast bird"))
    with claude.messages.stream(model="m", max_tokens=9, messages=chat("a b c")) as stream:
        texts = list(stream.text_stream)
        final = stream.get_final_message()

    assert whole.content[0].text == "FAST BIRD"  # type: ignore[union-attr]
    assert texts == ["a ", "b ", "c "]
    assert final.stop_reason == "end_turn"


def test_anthropic_cancels(edge: Edge, claude: anthropic.Anthropic) -> None:
    """Leaving the stream closes the model's generator."""
    with claude.messages.stream(model="m", max_tokens=9, messages=chat("claude FOREVER")) as stream:
        assert next(iter(stream.text_stream)) == "claude "

    edge.gates.wait("stopped claude FOREVER")


def test_anthropic_errors(claude: anthropic.Anthropic) -> None:
    """An exception of the model is the SDK's error, before the stream and within it."""
    with pytest.raises(anthropic.InternalServerError, match="ValueError"):
        claude.messages.create(model="m", max_tokens=9, messages=chat("BOOM"))
    seen: list[str] = []
    with (
        pytest.raises(anthropic.APIStatusError, match="ValueError"),
        claude.messages.stream(model="m", max_tokens=9, messages=chat("a BOOM")) as stream,
    ):
        seen.extend(stream.text_stream)

    assert seen == ["a "]


def test_missing_endpoint(servers: Servers) -> None:
    """An endpoint the model has not is the SDK's NotFoundError."""
    edge = servers.start("class Model:\n    def predict(self, inputs):\n        return inputs\n")

    with open_openai(edge) as client, pytest.raises(openai.NotFoundError, match="chat_completions"):
        client.chat.completions.create(model="m", messages=chat("x"))
