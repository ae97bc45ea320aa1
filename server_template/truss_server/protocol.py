"""What the tool and the server agree on: the layout of a release, names, routes, exit codes.

A *release* on disk is one folder::

    release.json      this module's Manifest
    config.yaml       as the author wrote it
    model/  packages/  data/

Standard library only and Python 3.9: the worker reads the manifest too.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

MANIFEST = "release.json"
"""Name of the manifest in the folder of a release."""

LIVE = "/health/live"
READY = "/health/ready"

ENVIRONMENT_VARIABLE = "TRUSS_ENVIRONMENT"
"""Names the environment (production, development, ...) to the server."""

SECRETS_FOLDER = "/secrets"
"""Where a server finds secrets as files, unless the variable below names another folder."""

SECRETS_VARIABLE = "TRUSS_SECRETS_DIR"
"""Names the folder of secrets to the server."""

SECRET_VARIABLE = "TRUSS_SECRET_"  # noqa: S105 - the beginning of a name
"""Begins the name of a variable that holds a secret, where no file does."""

IMAGE_COMMAND_VARIABLE = "TRUSS_IMAGE_COMMAND"
"""Has, as JSON, the `command` of an image that is run as it is, and the `folder` that it is started in."""

DEVELOPMENT = "development"
"""The environment whose deployments can be watched, and whose answers show the model's tracebacks."""

CONTROL_SOCKET = "control.sock"
"""Name of the socket, in the folder of a deployment's versions, that a watcher speaks to."""

CONTROL_PYTHON = "python"
"""Name of the file, in the same folder, with the interpreter that the newest version was loaded with."""

EXIT_LOAD_FAILED = 3
"""The server's exit code when the model could not be loaded."""

EXIT_WORKER_LOST = 4
"""The server's exit code when the worker died too often to be started again."""

ENDPOINTS = ("chat_completions", "completions", "embeddings", "messages", "responses")
"""Methods of a model that have a route of their own below /v1."""

DEFAULT_CONCURRENCY = 64
"""Calls of the model that run at once where `runtime.predict_concurrency` is not set."""


@dataclass(frozen=True)
class Manifest:
    """What a release is, as written to `release.json`.

    Attributes:
        model: Name of the model, also the `{name}` of routes.
        digest: SHA-256 (hex) over everything the release was made of.
        tool_version: Version of truss that made it.
        config: `config.yaml` with every default filled in.
    """

    model: str
    digest: str
    tool_version: str
    config: dict[str, Any]

    def to_json(self) -> str:
        """Return the manifest as deterministic JSON text."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            ValueError: The text is no JSON, or fields are missing.
        """
        fields = json.loads(text)
        try:
            return cls(**{name: fields[name] for name in ("model", "digest", "tool_version", "config")})
        except (KeyError, TypeError) as exc:
            raise ValueError(f"{MANIFEST} lacks {exc}") from exc
