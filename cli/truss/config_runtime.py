"""How the server treats calls of the model: the section `runtime` of config.yaml."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from truss.config_sections import Section
from truss.config_shapes import problem
from truss.config_values import Unused  # noqa: TC001 pydantic reads annotations
from truss_server.protocol import DEFAULT_CONCURRENCY

DAY = 24 * 60 * 60.0


class Transport(Section):
    """How clients reach the model. HTTP and websockets are served by every model that has methods for them."""

    kind: Literal["http", "websocket"] = Field(
        default="http",
        description="`websocket` for a model with a method of that name. Truss asks for it; here nothing depends on "
        "it.",
        examples=["websocket"],
    )
    ping_interval_seconds: float = Field(
        default=20.0,
        gt=0,
        le=DAY,
        description="Seconds between two pings of a websocket, which keep proxies from closing it.",
        examples=[5],
    )
    ping_timeout_seconds: float = Field(
        default=20.0,
        gt=0,
        le=DAY,
        description="Seconds a client has to answer a ping, before its websocket is closed.",
        examples=[30],
    )

    @field_validator("kind", mode="before")
    @classmethod
    def _of_http(cls, value: Any) -> Any:
        if value == "grpc":
            text = "the server in front speaks HTTP and websockets, and no gRPC"
            raise problem(text, "Take `http` or `websocket`.")
        return value


class Runtime(Section):
    """How the server treats calls of the model. Times are in seconds."""

    predict_concurrency: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description=f"Calls of the model that run at once, websockets included; {DEFAULT_CONCURRENCY} where it is "
        "not given. A model that must not be called twice at a time says 1.",
        examples=[1],
    )
    max_queue: int = Field(
        default=1024,
        ge=0,
        le=1_000_000,
        description="Calls that may wait for their turn; more are answered 429.",
        examples=[0],
    )
    request_timeout: float = Field(
        default=3600.0,
        gt=0,
        le=DAY,
        description="Seconds, from a call's arrival, until a stream must have begun and any other answer be complete.",
        examples=[30],
    )
    streaming_read_timeout: float = Field(
        default=60.0, gt=0, le=DAY, description="Seconds that a stream may be silent.", examples=[120]
    )
    drain_timeout: float = Field(
        default=30.0,
        ge=0,
        le=DAY,
        description="Seconds that running calls get when the deployment is stopped.",
        examples=[5],
    )
    max_body_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=1,
        le=16 * 1024**3,
        description="Bytes that a request's body may have; more are answered 413.",
        examples=[1048576],
    )
    enable_debug_logs: bool = Field(
        default=False,
        description="Whether what the model's `logging` says at level DEBUG is shown, too.",
        examples=[True],
    )
    enable_tracing_data: bool = Field(
        default=False,
        description="Whether each answered request becomes a span of OpenTelemetry; docs/server.md says where spans "
        "go.",
        examples=[True],
    )
    transport: Transport = Transport()
    egress_restrictions: Unused = None
    health_checks: Unused = None
    is_websocket_endpoint: Unused = None
    num_workers: Unused = None
    oidc: Unused = None
    remote_ssh: Unused = None
    request_backpressure: Unused = None
    truss_server_version_override: Unused = None
