"""The images a release is made of, each upon the one before, and the same as one Dockerfile.

They are: base, system packages, server, environment, build commands, data, packages, code; beside them one with uv.

One Dockerfile could do it all, and Docker's cache would find the layers that are still good. Images of
their own are found by what they are made of instead, so that

- a changed pip setting (a token that rotates) rebuilds nothing, and no setting stays behind in a cache;
- data, packages and installed requirements are neither sent to the engine nor hashed by it when the code is edited.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from truss.context import Context, Member
from truss.indexes import Indexes
from truss.pip_settings import SECRETS, sent_wheels, settings_of
from truss.stages import BUILD_FOLDER, UID, base_image, stages, template, text_member

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import PurePosixPath

    from truss.release import ReleasePlan
    from truss.stages import Stage

TAG_LENGTH = 12
"""Hex digits of a digest in a tag."""

DOCKERFILE, BUILDKIT_DOCKERFILE = "Dockerfile", "Dockerfile.buildkit"
"""The first one is for every builder, the second one for BuildKit, with mounts; both make the same image."""

MODEL_LABEL = "truss.model"
RELEASE_LABEL = "truss.release"
DRAIN_LABEL = "truss.drain_timeout"
GPUS_LABEL = "truss.gpus"
PARENT_LABEL = "truss.parent"
BASE_LABEL = "truss.base"
OPENAPI_LABEL, OPENAPI_OF_LABEL = "truss.openapi", "truss.openapi_of"
"""The document of a release, and what it was made from, where that is seen without importing the model."""

BUILD_LABEL = "truss.build"
SECRETS_LABEL = "truss.secrets"
"""Names of the secrets that a release asks for."""


@dataclass(frozen=True)
class Image:
    """An image to be built.

    Attributes:
        kind: Which of the images it is.
        purpose: What building it does, after "Docker could not".
        tag: Names what it is made of: an image of that tag need not be built again.
        context: Its Dockerfile and files.
        installs: Whether the build needs the user's settings, and is better done by BuildKit.
        parent: Name of the image that it stands upon.
        needs: Tags of the images of ours that it is made from.
        commands: What is run to make it where there is no BuildKit; such an image has no Dockerfile for the other.
        secrets: Of the user, by name: the paths where the commands find them.
        tidy: A last command, which is run without them.
        written: The commands as the user wrote them, where there are such.
    """

    kind: str
    purpose: str
    tag: str
    context: Context
    installs: bool = False
    parent: str = ""
    needs: tuple[str, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    tidy: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


def plan_images(plan: ReleasePlan, base_id: str, indexes: Indexes | None = None) -> tuple[Image, ...]:
    """Return the images of a release in the order in which they are built; the last one is the release.

    Args:
        plan: What to build.
        base_id: Id of the base image: a newer one of the same name makes a new server.
        indexes: Where packages come from: those in the user's folders that requirements ask for make the environment.

    Raises:
        BuildError: A package of the user's cannot be read.
    """
    base = base_image(plan)
    images: list[Image] = []
    parent, uv = base, ""
    for stage in stages(plan):
        names = {"base": base, "base_id": base_id, "parent": parent, "uv": uv, "chain": True}
        dockerfiles = []
        if not stage.commands:
            dockerfiles.append(text_member(DOCKERFILE, _render(stage, mounts=False, **names)))
        if stage.installs:
            dockerfiles.append(text_member(BUILDKIT_DOCKERFILE, _render(stage, mounts=True, **names)))
        mine = sent_wheels(indexes, stage.members) if indexes and stage.kind == "environment" else ()
        context = Context(
            (*dockerfiles, *stage.members), (*stage.folders, *(m.path.parent for m in mine[:1]))
        )
        name = f"truss/{plan.manifest.model}" if stage.kind == "release" else f"truss-{stage.kind}"
        tag = f"{name}:{context.digest[:TAG_LENGTH]}"
        needs = tuple(one for one in (parent, uv if stage.installs else "") if one not in {base, ""})
        made = Image(stage.kind, stage.purpose, tag, context, stage.installs, parent, needs)
        images.append(
            replace(
                made,
                commands=stage.commands,
                secrets=stage.secrets,
                tidy=stage.tidy,
                written=stage.written,
            )
        )
        if stage.beside:
            uv = tag
        else:
            parent = tag
    return tuple(images)


def whole_dockerfile(plan: ReleasePlan) -> str:
    """Return one Dockerfile of many stages that makes what the images of a release make."""
    base = base_image(plan)
    parent, parts = base, [template("head.Dockerfile")]
    for stage in stages(plan):
        parts.append(_render(stage, mounts=False, chain=False, base=base, base_id="", parent=parent, uv="uv"))
        parent = parent if stage.beside else stage.kind
    return "\n".join(parts)


def whole_context(plan: ReleasePlan) -> Context:
    """Return a folder from which `docker build` alone makes a release; no setting of the user's is in it."""
    members: list[Member] = [text_member(DOCKERFILE, whole_dockerfile(plan)), *settings_of(Indexes()).members]
    folders: list[PurePosixPath] = []
    for stage in stages(plan):
        members += stage.members
        folders += stage.folders
    return Context(tuple(members), tuple(folders))


def _render(stage: Stage, **values: object) -> str:
    """Return the Dockerfile of a stage."""
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 no HTML
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(template),
    )
    always = {"build": BUILD_FOLDER, "secrets": SECRETS, "uid": UID, "python": "python3"}
    return environment.get_template(f"{stage.kind}.Dockerfile.jinja").render(
        **{**always, **stage.values, **values}
    )
