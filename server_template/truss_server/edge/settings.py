"""What the edge is started with: its command line and the manifest of the release."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from truss_server.edge.version import Version
from truss_server.edge.versions import current_python, current_version
from truss_server.protocol import DEFAULT_CONCURRENCY, DEVELOPMENT, MANIFEST, Manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIENT_TIMEOUT = 75.0
"""Seconds: longer than the idle time of common proxies."""


@dataclass(frozen=True)
class Settings:
    """Everything the edge needs to know before it starts.

    Attributes:
        version: What to load first: the release, or what edits have made of it.
        manifest: Of that version.
        control: Folder of the control channel and of versions; None where the deployment takes no edits.
        environment: Name of the environment the deployment belongs to.
        host: Address to bind, where no socket is inherited.
        port: Port to bind, likewise.
        fd: Inherited listening socket, or None.
        log_file: File that standard output was opened on, to be kept to a size; None where it is no such file.
        concurrency: Calls of the model that run at once.
        request_timeout: Seconds until an answer must have begun, and a whole one be complete.
        queue: Calls that may wait for their turn; more are answered 429.
        read_timeout: Seconds a stream may be silent before it is given up.
        drain_timeout: Seconds running calls are given to finish after SIGTERM.
        body_limit: Bytes of a request body; more are answered 413.
        tracing: Whether a span is made of each answered request.
        ping_interval: Seconds between two pings of a websocket.
        ping_timeout: Seconds a client has to answer one.
        client_timeout: Seconds a client may keep the server waiting: for a request, for the rest of one, for room for
            its answer.
    """

    version: Version
    manifest: Manifest
    control: Path | None
    environment: str
    host: str
    port: int
    fd: int | None
    log_file: Path | None
    concurrency: int
    read_timeout: float
    drain_timeout: float
    request_timeout: float
    queue: int
    body_limit: int
    tracing: bool
    ping_interval: float
    ping_timeout: float
    client_timeout: float

    @property
    def development(self) -> bool:
        """Whether answers may show the model's tracebacks."""
        return self.environment == DEVELOPMENT


def read_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Parse the command line and read the manifest it points to.

    Raises:
        SystemExit: 2, the command line is wrong or names no release.
    """
    parser = _create_parser()
    args = parser.parse_args(arguments)
    root, generation, python = args.release.resolve(), 1, args.python
    if args.control is not None and (current := current_version(args.control.resolve())):
        root, generation = current
        python = current_python(args.control, otherwise=python)
    try:
        manifest = Manifest.from_json((root / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        parser.error(f"{root} is no release: {exc}")
    runtime: dict[str, Any] = manifest.config["runtime"]
    return Settings(
        version=Version(root, manifest, generation, python, args.environment, swaps=args.control is not None),
        manifest=manifest,
        control=args.control and args.control.resolve(),
        environment=args.environment,
        host=args.host,
        port=args.port,
        fd=args.fd,
        log_file=args.log_file,
        concurrency=int(runtime["predict_concurrency"] or DEFAULT_CONCURRENCY),
        read_timeout=float(runtime["streaming_read_timeout"]),
        drain_timeout=float(runtime["drain_timeout"]),
        request_timeout=float(runtime["request_timeout"]),
        queue=int(runtime["max_queue"]),
        body_limit=int(runtime["max_body_bytes"]),
        tracing=bool(runtime["enable_tracing_data"]),
        ping_interval=float(runtime["transport"]["ping_interval_seconds"]),
        ping_timeout=float(runtime["transport"]["ping_timeout_seconds"]),
        client_timeout=args.client_timeout,
    )


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="truss_server.edge", description="Serve a release of a model over HTTP."
    )
    parser.add_argument("--release", type=Path, required=True, help=f"folder with {MANIFEST}")
    parser.add_argument("--python", required=True, help="interpreter of the model's environment")
    parser.add_argument("--environment", default="production", help="environment of the deployment")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--fd", type=int, help="inherited listening socket, instead of host and port")
    parser.add_argument("--log-file", type=Path, help="file that stdout appends to, to be kept to a size")
    parser.add_argument("--control", type=Path, help="folder, to take edits by a socket in it")
    parser.add_argument(
        "--client-timeout",
        type=float,
        default=CLIENT_TIMEOUT,
        help="seconds a client may keep the server waiting (%(default)g)",
    )
    return parser
