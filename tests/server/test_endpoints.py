"""The `/v1` routes: who answers them, how objects stream there, and the shape of errors of each API family."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.server.raw_http import read_broken, read_error, read_until, request_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.harness import Edge, Servers

MODEL = """
import fastapi
import gates


def chunk(text):
    return {
        "id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
    }


def items(x):
    do = x["messages"][0]["content"]
    if do == "gated":
        yield chunk("one")
        gates.wait("go")
        yield chunk("two")
    elif do == "strings":
        yield "data: mine\\n\\n"
        yield b"data: too\\n\\n"
    elif do == "named":
        yield {"type": "message_start", "n": 1}
        yield {"n": 2}
        yield {"type": "odd\\nname", "n": 3}
    elif do == "fail":
        yield {"type": "message_start"}
        raise ValueError("broken on purpose")
    elif do == "answer":
        yield {"type": "message_start"}
        raise fastapi.HTTPException(429, {"reason": ["too", "much"]})


class Model:
    def predict(self, x):
        return "predict"

    def chat_completions(self, x, request: fastapi.Request):
        do = x["messages"][0]["content"]
        if do == "value":
            return {"path": request.url.path, "model": x["model"]}
        if do == "raise":
            raise ValueError("broken on purpose")
        if do == "refuse":
            raise fastapi.HTTPException(401, "who are you?", {"WWW-Authenticate": "Bearer"})
        if do == "refuse strangely":
            raise fastapi.HTTPException(418, {"n": 2**70}, {"X-Odd": "a\\r\\nb: \\u20ac"})
        if do == "nothing":
            raise fastapi.HTTPException(204)
        if do == "impossible":
            raise fastapi.HTTPException(99, "no such status")
        return items(x)

    async def messages(self, x, request):
        for item in items(x):
            yield item

    def responses(self, x, request: "fastapi.Request"):
        return items(x)

    async def embeddings(self, x):
        return {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "m"}
"""


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve MODEL."""
    return module_servers.start(MODEL)


@pytest.fixture(scope="module")
def sdk(edge: Edge) -> Iterator[openai.OpenAI]:
    """OpenAI's own client."""
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{edge.port}/v1", api_key="none", max_retries=0, timeout=20
    ) as client:
        yield client


def ask(do: str) -> dict[str, Any]:
    """Return a chat request that tells MODEL what to do."""
    return {"model": "m", "messages": [{"role": "user", "content": do}]}


def test_a_value_is_its_json(edge: Edge) -> None:
    """What an endpoint's method returns is the body, unchanged."""
    response = edge.post("/v1/chat/completions", ask("value"))

    assert (response.status_code, response.json()) == (200, {"path": "/v1/chat/completions", "model": "m"})


def test_objects_stream_as_server_sent_events(edge: Edge) -> None:
    """On OpenAI's routes each object is an event, at once, and a mark closes the complete stream."""
    with edge.stream(ask("gated"), "/v1/chat/completions") as response:
        assert response.headers["content-type"] == "text/event-stream"
        chunks = response.iter_raw()
        first = next(chunks).decode()
        edge.gates.open("go")
        rest = b"".join(chunks).decode()

    assert first.startswith('data: {"id":"c",')
    assert first.endswith('"one"},"finish_reason":null}]}\n\n')
    assert rest.endswith("\n\ndata: [DONE]\n\n")
    assert rest.count("data: ") == 2


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
def test_events_have_names_where_the_family_names_them(edge: Edge, path: str) -> None:
    """On Anthropic's route and on responses an event is named by its type, and there is no closing mark."""
    response = edge.post(path, ask("named"))

    assert response.headers["content-type"] == "text/event-stream"
    assert response.text == (
        'event: message_start\ndata: {"type":"message_start","n":1}\n\n'
        'data: {"n":2}\n\n'
        'event: odd name\ndata: {"type":"odd\\nname","n":3}\n\n'
    )


def test_text_streams_as_it_is(edge: Edge) -> None:
    """A model that frames events itself is left alone: no second frame, no closing mark."""
    response = edge.post("/v1/chat/completions", ask("strings"))

    assert response.headers["content-type"] == "text/event-stream"
    assert response.text == "data: mine\n\ndata: too\n\n"


FAILED = "the model raised ValueError; its log has the traceback"


@pytest.mark.parametrize(
    ("path", "last_event"),
    [
        (
            "/v1/chat/completions",
            '{"error":{"message":"MESSAGE","type":"api_error","param":null,"code":null,"request_id":"ID"}}',
        ),
        (
            "/v1/messages",
            '{"type":"error","error":{"type":"api_error","message":"MESSAGE","request_id":"ID"}}',
        ),
        ("/v1/responses", '{"type":"error","code":"server_error","message":"MESSAGE","param":null}'),
    ],
)
def test_a_failing_stream_ends_with_an_error_event_and_an_abort(
    edge: Edge, path: str, last_event: str
) -> None:
    """The last event is an error in the family's shape, and then the transfer breaks."""
    with edge.http.stream("POST", path, json=ask("fail"), headers={"x-request-id": "ID"}) as response:
        body = read_broken(response).decode()

    event = body.split("\n\n")[1]
    assert last_event.replace("MESSAGE", FAILED) in event
    assert event.startswith("data: " if "chat" in path else "event: error\ndata: ")
    assert "[DONE]" not in body


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_an_answer_raised_in_mid_stream_is_an_error_event(edge: Edge, path: str) -> None:
    """An HTTPException after the first chunk cannot be a status any more; its detail is in the event."""
    with edge.stream(ask("answer"), path) as response:
        body = read_broken(response).decode()

    assert '{\\"reason\\":[\\"too\\",\\"much\\"]}' in body


def test_the_openai_client_raises_in_mid_stream(sdk: openai.OpenAI) -> None:
    """The stock client hands out the chunks of a failing stream and then raises."""
    stream = sdk.completions.with_raw_response  # the endpoint that is not there
    with pytest.raises(openai.NotFoundError, match="no method `completions`"):
        stream.create(model="m", prompt="x")

    with pytest.raises(openai.APIError, match="the model raised ValueError"):
        list(sdk.chat.completions.create(**ask("fail"), stream=True))


def test_the_openai_client_reads_streams_and_values(edge: Edge, sdk: openai.OpenAI) -> None:
    """The stock client understands a whole stream, a value and a refusal."""
    edge.gates.open("go")
    chunks = sdk.chat.completions.create(**ask("gated"), stream=True)

    assert [chunk.choices[0].delta.content for chunk in chunks] == ["one", "two"]
    assert sdk.embeddings.create(model="m", input="x", encoding_format="float").data[0].embedding == [0.5]
    with pytest.raises(openai.AuthenticationError, match="who are you"):
        sdk.chat.completions.create(**ask("refuse"))


def test_a_raised_answer_keeps_status_detail_and_headers(edge: Edge) -> None:
    """An HTTPException is an answer: its status, its detail in the family's shape, its headers."""
    response = edge.post("/v1/chat/completions", ask("refuse"))

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert read_error(response) == {
        "error": {"message": "who are you?", "type": "authentication_error", "param": None, "code": None}
    }


def test_a_strange_answer_is_made_valid(edge: Edge) -> None:
    """Line ends and foreign letters in a header, huge numbers in a detail: still one valid answer."""
    response = edge.post("/v1/chat/completions", ask("refuse strangely"))

    assert (response.status_code, response.headers["x-odd"]) == (418, "a b: ?")
    assert json.loads(response.json()["error"]["message"]) == {"n": 2**70}


def test_statuses_http_cannot_send(edge: Edge) -> None:
    """An answer without a body has none, and a status that ends no request becomes 500."""
    empty = edge.post("/v1/chat/completions", ask("nothing"))
    impossible = edge.post("/v1/chat/completions", ask("impossible"))

    assert (empty.status_code, empty.content) == (204, b"")
    assert (impossible.status_code, impossible.json()["error"]["message"]) == (500, "no such status")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/completions",
            {"error": {"message": "MESSAGE", "type": "not_found_error", "param": None, "code": None}},
        ),
        (
            "/v1/nothing",
            {"error": {"message": "Not Found", "type": "not_found_error", "param": None, "code": None}},
        ),
        ("/nothing", {"error": "Not Found"}),
    ],
)
def test_what_is_not_there_is_404(edge: Edge, path: str, body: Any) -> None:
    """A method the model lacks is named; another path is simply not found."""
    response = edge.post(path, {})

    assert response.status_code == 404
    assert json.dumps(read_error(response)) == json.dumps(body).replace(
        "MESSAGE", "the model has no method `completions`"
    )


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_another_verb_is_405_and_keeps_the_connection(edge: Edge, verb: str) -> None:
    """The answer names the right verb, and the next request on the same connection is answered."""
    with edge.connect() as sock:
        sock.sendall(f"{verb} /predict HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        head = read_until(sock, b"\r\n\r\n" if verb == "HEAD" else b"}").lower()
        sock.sendall(request_bytes("/predict", {}))
        answer = read_until(sock, b'"predict"')

    assert head.startswith(b"http/1.1 405 ")
    assert b"allow: post" in head
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"{'a': 1}", b"NaN", b"[" * 5000])
def test_what_is_no_json_is_400_and_keeps_the_connection(edge: Edge, body: bytes) -> None:
    """The message says where the text stops to be JSON; the connection goes on."""
    with edge.connect() as sock:
        sock.sendall(request_bytes("/predict", body=body))
        answer = read_until(sock, b"}")
        sock.sendall(request_bytes("/predict", {}))
        assert read_until(sock, b'"predict"').startswith(b"HTTP/1.1 200 ")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'{"error":"Invalid JSON payload: ' in answer


def test_errors_have_the_shape_of_the_family(edge: Edge) -> None:
    """What is no JSON is refused in the words of the API family that the route belongs to."""
    openai_error = read_error(edge.post("/v1/embeddings", content=b"{"))
    anthropic_error = read_error(edge.post("/v1/messages", content=b"{"))

    text = openai_error["error"]["message"]
    assert text.startswith("Invalid JSON payload: ")
    kind = "invalid_request_error"
    assert openai_error == {"error": {"message": text, "type": kind, "param": None, "code": None}}
    assert anthropic_error == {"type": "error", "error": {"type": kind, "message": text}}


def test_health_openapi_and_unknown_paths(edge: Edge) -> None:
    """The routes beside the model's answer, with errors in the same shape."""
    assert edge.http.get("/health/live").json() == {"status": "live"}
    ready = edge.http.get("/health/ready")
    assert (ready.status_code, ready.json()["status"], ready.json()["model"]) == (200, "ready", "tested")
    assert "/health/ready" in edge.http.get("/openapi.json").json()["paths"]
    response = edge.http.post("/health/live")
    assert (response.status_code, read_error(response)) == (405, {"error": "Method Not Allowed"})


def test_the_request_id_is_given_back(edge: Edge) -> None:
    """A client's request id returns in the answer, cut to a sane length; without one there is a new one each time."""
    given = edge.post("/predict", {}, headers={"x-request-id": "abc"}).headers["x-request-id"]
    long = edge.post("/predict", {}, headers={"x-request-id": "x" * 1000}).headers["x-request-id"]
    made = {edge.post("/predict", {}).headers["x-request-id"] for _ in range(3)}

    assert (given, long, len(made)) == ("abc", "x" * 128, 3)
