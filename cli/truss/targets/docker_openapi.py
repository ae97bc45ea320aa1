"""The OpenAPI document of a release, asked of its code before there is an image: imported once, without a network."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from docker.errors import NotFound
from docker.types import LogConfig

from truss.context import Context
from truss.errors import EngineError
from truss.images import OPENAPI_LABEL, OPENAPI_OF_LABEL, TAG_LENGTH
from truss.model_types import shape_of
from truss.stages import OPENAPI
from truss.targets.docker_engine import engine_errors
from truss.targets.docker_owned import owner

if TYPE_CHECKING:
    from collections.abc import Mapping

    import docker

    from truss.images import Image
    from truss.progress import Progress
    from truss.release import ReleasePlan

SECONDS = 60
"""How long an import may take; that of large libraries takes ten."""

MOST_BYTES = 64 * 1024
"""Of a document: it becomes a label, and labels are listed with images."""

DOCUMENT, MADE_FROM = "TRUSS_OPENAPI", "TRUSS_OPENAPI_OF"
"""Arguments of the Dockerfile."""

COMMAND = ["/opt/truss/edge/bin/python", "-I", "-m", "truss_server.edge.document"]
OPTIONS = ["--release", "/app", "--python", "/opt/model/bin/python"]

APP, CODE = PurePosixPath("app"), PurePosixPath("release")
"""Where the code lies in an image, and in the context that it is built from."""


def openapi_arguments(
    client: docker.APIClient,
    environ: Mapping[str, str],
    plan: ReleasePlan,
    release: Image,
    progress: Progress,
) -> dict[str, str]:
    """Return what the Dockerfile of a release is given for its document.

    Most edits leave it as it is: where a release of the engine was made from what decides it, its document is taken.

    Args:
        client: Of the engine.
        environ: The user's environment.
        plan: Of the release.
        release: Its image, which need not be there; what it is made from is.
        progress: Told why there is no document.
    """
    if plan.config.docker_server is not None:
        return {}
    shape, key = shape_of(plan.config, plan.files), ""
    if shape is not None:
        key = sha256(f"{plan.manifest.model}\n{release.parent}\n{shape}".encode()).hexdigest()[:TAG_LENGTH]
        with engine_errors("list its images"):
            known = client.images(filters={"label": f"{OPENAPI_OF_LABEL}={key}"})
        if known:
            return {DOCUMENT: known[0]["Labels"][OPENAPI_LABEL], MADE_FROM: key}
    progress.detail("read the model's types")
    document = _read(client, environ, release, progress)
    return {DOCUMENT: document, MADE_FROM: key if document != OPENAPI else ""}


def _read(client: docker.APIClient, environ: Mapping[str, str], release: Image, progress: Progress) -> str:
    """Return the document that a server of a release would show; where its code does not tell, the route of it."""
    try:
        with owner(environ) as mine, engine_errors("read the model's types"):
            container = client.create_container(
                release.parent,
                name=mine.container,
                labels=mine.labels,
                entrypoint=COMMAND,
                healthcheck={"test": ["NONE"]},
                use_config_proxy=False,
                command=OPTIONS,
                host_config=client.create_host_config(
                    network_mode="none",
                    cap_drop=["ALL"],
                    security_opt=["no-new-privileges"],
                    log_config=LogConfig(type="json-file", config={"max-size": "10m"}),
                ),
            )["Id"]
            try:
                client.put_archive(container, "/", _code(release).tar())
                return _run(client, container)
            finally:
                with suppress(NotFound):
                    client.remove_container(container, force=True, v=True)
    except EngineError as exc:
        reason = exc.details.strip().splitlines()[-1:] or [exc.message]
        progress.note(f"The image's label truss.openapi names the route only, not the types: {reason[0]}")
        return OPENAPI


def _run(client: docker.APIClient, container: str) -> str:
    """Run a container to its end; return what it wrote.

    Raises:
        EngineError: It failed, took too long or wrote too much.
    """
    client.start(container)
    try:
        code = client.wait(container, timeout=SECONDS)["StatusCode"]
    except OSError as exc:
        raise EngineError(f"Importing the model took more than {SECONDS} s.") from exc
    if code != 0:
        told = client.logs(container, stdout=False, tail=20)
        raise EngineError(f"It ended with {code}.", details=told.decode(errors="replace"))
    document = client.logs(container, stderr=False)
    if len(document) > MOST_BYTES:
        raise EngineError(f"They take more than {MOST_BYTES // 1024} KB.")
    return str(document.decode())


def _code(release: Image) -> Context:
    """Return the files of a release as they are to lie in its image."""
    members = [
        replace(member, path=APP / member.path.relative_to(CODE))
        for member in release.context.members
        if CODE in member.path.parents
    ]
    folders = [APP / folder.relative_to(CODE) for folder in release.context.folders]
    return Context(tuple(members), tuple(folders))
