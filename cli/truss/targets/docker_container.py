"""A container of ours as a value: its name and labels say which deployment it is."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from docker.types import DeviceRequest, LogConfig

from truss.config_values import EDGE_PORT
from truss.images import MODEL_LABEL, RELEASE_LABEL
from truss.ports import LOOPBACK
from truss.release import Deployment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import docker
    from docker.types import Mount

    from truss.release import Release

ENVIRONMENT_LABEL = "truss.environment"

REPLACES_LABEL = "truss.replaces"
"""On a candidate: the container that was stopped to free its port, empty where there was none."""

CANDIDATE = "-candidate"
"""Ends the name of a container that is no deployment yet: labels cannot change, names can."""

LOG_SIZE, LOG_FILES = "10m", "3"
"""A container's log keeps its last 30 megabytes."""

MICROSECOND_DIGITS = 6


@dataclass(frozen=True)
class Container:
    """What the engine knows of a container.

    Attributes:
        id: The engine's name for it.
        name: Ours.
        labels: Of its image and its own.
        port: Where it is published on loopback.
        running: Whether its server lives, or is about to be started again.
        code: Exit code of its server where it does not live.
        stop_timeout: Seconds between asking the server to end and killing it.
        created: When (UTC).
    """

    id: str
    name: str
    labels: Mapping[str, str]
    port: int
    running: bool
    code: int
    stop_timeout: int
    created: datetime

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Container:
        """Return what `docker inspect` shows as a value."""
        state, config = found["State"], found["Config"]
        return cls(
            id=found["Id"],
            name=found["Name"].removeprefix("/"),
            labels=config["Labels"],
            port=int(found["HostConfig"]["PortBindings"][f"{EDGE_PORT}/tcp"][0]["HostPort"]),
            running=state["Running"] or state["Restarting"],
            code=state["ExitCode"],
            stop_timeout=config["StopTimeout"],
            created=_parse_time(found["Created"]),
        )

    @property
    def is_candidate(self) -> bool:
        """Whether it was not promoted yet."""
        return self.name.endswith(CANDIDATE)

    def deployment(self) -> Deployment:
        """Return it as users see it."""
        return Deployment(
            model=self.labels[MODEL_LABEL],
            environment=self.labels[ENVIRONMENT_LABEL],
            release=int(self.labels[RELEASE_LABEL]),
            target="docker",
            url=f"http://{LOOPBACK}:{self.port}",
            id=self.id,
            started=self.created,
            running=self.running,
        )


def candidate_name(release: Release, environment: str) -> str:
    """Return the name of a new candidate; without its end it is that of the deployment."""
    words = [release.model, re.sub(r"[^A-Za-z0-9_.-]", "-", environment), str(release.number)]
    return "-".join(["truss", *words, uuid.uuid4().hex[:6]]) + CANDIDATE


def _parse_time(text: str) -> datetime:
    """Return a time as the engine writes it, with up to nine digits after the second."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    digits = fraction[:MICROSECOND_DIGITS].ljust(MICROSECOND_DIGITS, "0")
    return datetime.fromisoformat(f"{seconds}.{digits}").replace(tzinfo=timezone.utc)


def host_config(
    client: docker.APIClient, port: int, gpus: int, mounts: Sequence[Mount], **more: Any
) -> dict[str, Any]:
    """Return what a container of a model gets of the machine: a port, GPUs, secrets, and no rights beyond that."""
    return client.create_host_config(
        port_bindings={EDGE_PORT: (LOOPBACK, port)},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mounts=list(mounts),
        device_requests=[DeviceRequest(count=gpus, capabilities=[["gpu"]])] if gpus else None,
        log_config=LogConfig(type="json-file", config={"max-size": LOG_SIZE, "max-file": LOG_FILES}),
        **more,
    )
