"""Paths: aliases, the platform's own, what is not there, and what tells how the server is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.server.raw_http import read_error

if TYPE_CHECKING:
    from tests.server.harness import Edge, Servers

MODEL = """
class Model:
    def predict(self, inputs):
        return {"predict": inputs}

    def chat_completions(self, inputs):
        return {"chat": inputs}
"""


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve the model once for all tests, in an environment of its own name."""
    return module_servers.start(MODEL, environment="staging")


@pytest.mark.parametrize(
    "path",
    [
        "/predict",
        "/invocations",
        "/v1/models/tested:predict",
        "/v1/models/anything:predict",
        "/v1/models/tested:predict_binary",
        "/environments/staging/predict",
        "/environments/staging/sync/predict",
        "/environments/staging/sync/v1/models/tested:predict",
        "/environments/staging/sync/invocations",
    ],
)
def test_paths_of_predict(edge: Edge, path: str) -> None:
    """Every path that means predict calls it."""
    response = edge.post(path, {"a": 1})

    assert (response.status_code, response.json()) == (200, {"predict": {"a": 1}})


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/environments/staging/sync/v1/chat/completions"])
def test_paths_of_an_endpoint(edge: Edge, path: str) -> None:
    """An endpoint is found at its path and at the platform's."""
    assert edge.post(path, [1]).json() == {"chat": [1]}


@pytest.mark.parametrize("environment", ["production", "development"])
def test_fixed_environments(servers: Servers, environment: str) -> None:
    """`/production` and `/development` are served by the deployment of that environment."""
    edge = servers.start(MODEL, environment=environment)

    assert edge.post(f"/{environment}/predict", 1).json() == {"predict": 1}
    assert edge.post(f"/{environment}/sync/v1/chat/completions", 1).json() == {"chat": 1}
    assert edge.post(f"/environments/{environment}/predict", 1).json() == {"predict": 1}


@pytest.mark.parametrize(
    "path",
    [
        "/environments/other/predict",
        "/environments/other/sync/v1/models",
        "/environments/other/sync/v1/chat/completions",
        "/environments/other/nope",
        "/production/predict",
        "/development/sync/x",
    ],
)
def test_another_environment(edge: Edge, path: str) -> None:
    """A path of another environment is 404 and says which one this is."""
    response = edge.post(path, 1)
    named = path.split("/")[2] if path.startswith("/environments") else path.split("/")[1]

    assert response.status_code == 404
    text = f"this is the deployment in the environment staging, not {named}"
    error = read_error(response)["error"]
    assert (error["message"] if "/v1/" in path else error) == text


def test_nothing_of_that_name_below_the_environment(edge: Edge) -> None:
    """A path below this environment that means nothing is told what there is."""
    response = edge.post("/environments/staging/nope", 1)

    assert response.status_code == 404
    assert "below the environment staging there are" in read_error(response)["error"]


@pytest.mark.parametrize("path", ["/health/live", "/metrics", "/openapi.json", "/v1/models", "/docs"])
def test_other_routes_name_their_request(edge: Edge, path: str) -> None:
    """The request id is given back on every route."""
    response = edge.http.get(path, headers={"x-request-id": "mine"})

    assert response.status_code == 200
    assert response.headers.get_list("x-request-id") == ["mine"]


def test_no_redirect_to_where_the_client_says_it_is(edge: Edge) -> None:
    """A path with a slash too many is not there; nobody is sent to what the Host header names."""
    assert edge.http.get("/health/live/", headers={"host": "elsewhere"}).status_code == 404


def test_docs_below_the_environment(edge: Edge) -> None:
    """The documentation finds its document beside it."""
    assert "url: 'openapi.json'" in edge.http.get("/environments/staging/sync/docs").text


def test_what_is_not_there_keeps_the_connection(edge: Edge) -> None:
    """Unknown paths, missing methods and wrong verbs are 404 and 405 in one shape, all on one connection."""
    with httpx.Client(base_url=f"http://127.0.0.1:{edge.port}", trust_env=False) as http:
        answers = [
            http.request(method, path, json=body)
            for method, path, body in [
                ("POST", "/nowhere", {"a": 1}),
                ("GET", "/nowhere", None),
                ("POST", "/v1/embeddings", {"input": "x"}),
                ("GET", "/predict", None),
                ("DELETE", "/v1/models/tested:predict", None),
                ("PUT", "/environments/staging/predict", {"a": 1}),
                ("POST", "/health/live", {"a": 1}),
                ("GET", "/v1/chat/completions", None),
                ("POST", "/predict", 1),
            ]
        ]
        connections = {r.extensions["network_stream"].get_extra_info("client_addr") for r in answers}

    assert [response.status_code for response in answers] == [404, 404, 404, 405, 405, 405, 405, 405, 200]
    assert len(connections) == 1
    assert all(list(read_error(response)) == ["error"] for response in answers[:-1])
    assert "`embeddings`" in answers[2].json()["error"]["message"]
    assert [response.headers["allow"] for response in answers[3:6]] == ["POST"] * 3


def test_lists_the_model(edge: Edge) -> None:
    """`/v1/models` is a list in OpenAI's shape."""
    model = {"id": "tested", "object": "model", "created": 0, "owned_by": "truss"}

    assert {"object": "list", "data": [model]} == edge.http.get("/v1/models").json()
    assert {"object": "list", "data": [model]} == edge.http.get("/environments/staging/sync/v1/models").json()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/", True),
        ("/ping", {}),
        ("/v1/models/tested", {}),
        ("/v1/models/any", {}),
        ("/v1/models/any/loaded", {}),
    ],
)
def test_tells_that_it_is_ready(edge: Edge, path: str, body: object) -> None:
    """Readiness and its aliases answer as Truss does."""
    response = edge.http.get(path)

    assert (200, body) == (response.status_code, response.json())


def test_tells_that_it_is_not_ready(servers: Servers) -> None:
    """While load() runs it is alive and not ready, in Truss's words."""
    edge = servers.start(
        "import gates\nclass Model:\n    def load(self):\n        gates.mark('loading')\n        gates.wait('load')\n"
        "    def predict(self, x):\n        return x\n",
        ready=False,
    )
    edge.gates.wait("loading")
    paths = ["/v1/models/model", "/v1/models/model/loaded", "/ping"]
    live = [edge.http.get(path) for path in ("/", "/health/live")]
    ready = [edge.http.get(path) for path in paths]
    schema = edge.http.get("/v1/models/model/schema")
    predict = edge.post("/predict", 1)
    startup = edge.http.get("/health/startup")
    edge.gates.open("load")
    edge.wait_ready()

    assert [(r.status_code, r.json()) for r in live] == [(200, True), (200, {"status": "live"})]
    assert [(r.status_code, r.json()) for r in ready] == [
        (503, {"error": "Model with name model is not ready."})
    ] * 3
    assert (schema.status_code, schema.json()) == (
        503,
        {"error": "Schema not available, please try again later."},
    )
    assert (predict.status_code, predict.headers["retry-after"]) == (503, "1")
    assert [startup.status_code, edge.http.get("/health/startup").status_code] == [503, 200]


def test_no_schema(edge: Edge) -> None:
    """A model without types has no schema."""
    response = edge.http.get("/v1/models/tested/schema")

    assert (response.status_code, response.json()) == (404, {"error": "No schema found"})


@pytest.mark.parametrize(
    "path", ["/", "/health/live", "/health/ready", "/v1/models", "/docs", "/openapi.json"]
)
def test_head(edge: Edge, path: str) -> None:
    """HEAD answers what GET answers, without the body, and the connection goes on."""
    with httpx.Client(base_url=f"http://127.0.0.1:{edge.port}", trust_env=False) as http:
        head, get = http.head(path), http.get(path)

    assert (200, b"", get.headers["content-length"]) == (
        head.status_code,
        head.content,
        head.headers["content-length"],
    )


def test_documentation(edge: Edge) -> None:
    """`/docs` is a page and `/openapi.json` lists the model's routes among the server's."""
    page = edge.http.get("/docs")
    document = edge.http.get("/openapi.json").json()

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert document["info"]["title"] == "tested"
    assert {"/predict", "/v1/chat/completions", "/health/ready", "/v1/models"} <= set(document["paths"])
    assert "/v1/embeddings" not in document["paths"]


@pytest.mark.parametrize("below", ["", "/environments/staging/sync"])
def test_the_page_of_the_documentation_needs_no_internet(edge: Edge, below: str) -> None:
    """Its script, style and icon come from the server, wherever the page is."""
    page = edge.http.get(f"{below}/docs").text
    parts = re.findall(r'(?:src|href)="([^"]+)"', page)

    assert len(parts) == 3
    assert "//" not in "".join(parts)
    for part in parts:
        assert edge.http.get(f"{below}/{part}").status_code == 200
