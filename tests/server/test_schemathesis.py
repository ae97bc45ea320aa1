"""Requests made from the server's own OpenAPI document: whatever comes, nothing of it is the server's fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from tests.server.test_typed import MODEL

if TYPE_CHECKING:
    from typing import Any

    from schemathesis import Case

    from tests.server.harness import Edge, Servers

EXAMPLES = 120


@pytest.fixture(scope="module")
def edge(module_servers: Servers) -> Edge:
    """Serve a typed model once for all tests."""
    return module_servers.start(MODEL)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_server_error(edge: Edge, mode: GenerationMode) -> None:
    """Bodies and parameters that fit the document, and such that do not, are never answered 5xx."""
    schema = schemathesis.openapi.from_dict(edge.http.get("/openapi.json").json())
    schema.config.update(base_url=f"http://127.0.0.1:{edge.port}")
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    seen: set[tuple[str, int]] = set()

    @given(st.one_of([one.as_strategy(generation_mode=mode) for one in operations]))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def call(case: Case[Any]) -> None:
        response = case.call()
        seen.add((case.operation.path, response.status_code))
        assert response.status_code < 500, (case.as_curl_command(), response.text)

    call()

    expected = 200 if mode is GenerationMode.POSITIVE else 400
    assert {("/predict", expected), ("/v1/completions", expected)} <= seen
