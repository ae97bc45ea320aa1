"""The images a release is made of, each upon the one before: base, system packages, server, environment, data, code.

One Dockerfile could do it all, and Docker's cache would find the layers that are still good. Images of
their own are found by what they are made of instead, so that

- a changed pip setting (a token that rotates) rebuilds nothing, and no setting stays behind in a cache;
- data and installed requirements are neither sent to the engine nor hashed by it when the code is edited.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from truss import __version__
from truss.context import Context, Member
from truss_server.protocol import MANIFEST, READY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

    from truss.release import PackageFile, ReleasePlan

PORT = 8080
"""Where the server listens inside its container."""

UID = 10001
"""User and group of the server inside its container, nobody's on the machine around it."""

TAG_LENGTH = 12
"""Hex digits of a digest in a tag."""

NO_IMAGE = "The image could not be built."

MODEL_LABEL = "truss.model"
RELEASE_LABEL = "truss.release"
DIGEST_LABEL = "truss.digest"
CONTEXT_LABEL = "truss.context"
DRAIN_LABEL = "truss.drain_timeout"
PARENT_LABEL = "truss.parent"


@dataclass(frozen=True)
class Image:
    """An image to be built.

    Attributes:
        failure: What to say when it cannot be built, one sentence.
        tag: Names what it is made of: an image of that tag need not be built again.
        context: Its Dockerfile and files.
        labels: What is known of it later.
        installs: Whether the build needs the user's pip settings.
    """

    failure: str
    tag: str
    context: Context
    labels: Mapping[str, str] = field(default_factory=dict)
    installs: bool = False


def base_image(plan: ReleasePlan) -> str:
    """Return the name of the image that a plan starts from."""
    version = plan.config.python_version.removeprefix("py3")
    return plan.config.base_image.image or f"python:3.{version}-slim"


def plan_images(plan: ReleasePlan, base_id: str) -> tuple[Image, ...]:
    """Return the images of a release in the order in which they are built; the last one is the release.

    Args:
        plan: What to build.
        base_id: Id of the base image: a newer one of the same name makes a new server.
    """
    base = base_image(plan)
    images: list[Image] = []

    def add(kind: str, failure: str, *members: Member, installs: bool = False, **values: object) -> None:
        parent = images[-1].tag if images else base
        dockerfile = _render(kind, base=base, base_id=base_id, parent=parent, **values)
        context = Context((_text("Dockerfile", dockerfile), *members))
        tag = f"truss-{kind}:{context.digest[:TAG_LENGTH]}"
        images.append(Image(failure, tag, context, {PARENT_LABEL: parent}, installs))

    if plan.config.system_packages:
        add(
            "system",
            "The system packages could not be installed.",
            packages=_shell_words(plan.config.system_packages),
        )
    pins = _template("requirements.txt")
    server = (_text("requirements.txt", pins), *_server_files())
    add(
        "server",
        f"The server could not be installed on {base}.",
        *server,
        installs=True,
        port=PORT,
        uid=UID,
        ready=READY,
    )
    if plan.requirements:
        lines = "".join(f"{line}\n" for line in plan.requirements)
        add(
            "environment",
            "The requirements could not be installed.",
            _text("requirements.txt", lines),
            installs=True,
        )
    data = [file for file in plan.files if _is_data(plan, file)]
    if data:
        add("data", NO_IMAGE, *map(_release_file, data))
    return (*images, _release(plan, images[-1].tag))


def _release(plan: ReleasePlan, parent: str) -> Image:
    """Return the image of the release itself."""
    code = [_release_file(file) for file in plan.files if not _is_data(plan, file)]
    manifest = _text(f"release/{MANIFEST}", plan.manifest.to_json())
    names = (plan.config.data_dir, plan.config.bundled_packages_dir)
    context = Context(
        (_text("Dockerfile", _render("release", parent=parent)), manifest, *code),
        folders=tuple(PurePosixPath("release", name) for name in names),
    )
    labels = {
        PARENT_LABEL: parent,
        MODEL_LABEL: plan.manifest.model,
        DIGEST_LABEL: plan.manifest.digest,
        CONTEXT_LABEL: context.digest,
        DRAIN_LABEL: str(plan.config.runtime.drain_timeout),
        "truss.tool_version": __version__,
        "truss.package": plan.package.name,
    }
    tag = f"truss/{plan.manifest.model}:{plan.manifest.digest[:TAG_LENGTH]}"
    return Image(NO_IMAGE, tag, context, labels)


def _is_data(plan: ReleasePlan, file: PackageFile) -> bool:
    """Return whether a file lies in the package's data folder."""
    return PurePosixPath(plan.config.data_dir) in file.path.parents


def _release_file(file: PackageFile) -> Member:
    """Return a file of the package as a member of a context."""
    return Member("release" / file.path, file, file.executable)


def _text(path: str, text: str) -> Member:
    """Return a text of ours as a member of a context."""
    return Member(PurePosixPath(path), text.encode())


def _shell_words(lines: tuple[str, ...]) -> str:
    """Return lines of words, as a user writes them, as words of a shell command."""
    return shlex.join(word for line in lines for word in line.split())


def _server_files() -> tuple[Member, ...]:
    """Return the installed server's sources, byte for byte."""
    sources = _walk(files("truss_server"), PurePosixPath("server/truss_server"))
    return tuple(Member(path, file.read_bytes()) for path, file in sources)


def _walk(folder: Traversable, above: PurePosixPath) -> Iterator[tuple[PurePosixPath, Traversable]]:
    """Yield the files below a folder of an installed package, without what Python made of them."""
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _walk(entry, above / entry.name)
        elif entry.is_file():
            yield above / entry.name, entry


def _template(name: str) -> str:
    """Return the text of a file of the Docker templates."""
    return (files("truss_templates") / "docker" / name).read_text(encoding="utf-8")


def _render(kind: str, **values: object) -> str:
    """Return a rendered Dockerfile."""
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)  # noqa: S701 no HTML
    return environment.from_string(_template(f"{kind}.Dockerfile.jinja")).render(values)
