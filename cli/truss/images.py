"""The images a release is made of, each upon the one before.

They are: base, system packages, server, environment, build commands, data, code.

One Dockerfile could do it all, and Docker's cache would find the layers that are still good. Images of
their own are found by what they are made of instead, so that

- a changed pip setting (a token that rotates) rebuilds nothing, and no setting stays behind in a cache;
- data and installed requirements are neither sent to the engine nor hashed by it when the code is edited.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from truss.config_values import EDGE_PORT
from truss.context import Context, Member
from truss_server.protocol import MANIFEST, READY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

    from truss.release import PackageFile, ReleasePlan

UID = 10001
"""User and group of the server inside its container, nobody's on the machine around it."""

TAG_LENGTH = 12
"""Hex digits of a digest in a tag."""

MODEL_LABEL = "truss.model"
RELEASE_LABEL = "truss.release"
DRAIN_LABEL = "truss.drain_timeout"
SECRETS_LABEL = "truss.secrets"
"""Names of the secrets that a release asks for."""


@dataclass(frozen=True)
class Image:
    """An image to be built.

    Attributes:
        purpose: What building it does, after "Docker could not".
        tag: Names what it is made of: an image of that tag need not be built again.
        context: Its Dockerfile and files.
        installs: Whether the build needs the user's pip settings.
    """

    purpose: str
    tag: str
    context: Context
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

    def add(kind: str, purpose: str, *members: Member, installs: bool = False, **values: object) -> None:
        parent = images[-1].tag if images else base
        dockerfile = _render(kind, base=base, base_id=base_id, parent=parent, **values)
        context = Context((_text("Dockerfile", dockerfile), *members))
        tag = f"truss-{kind}:{context.digest[:TAG_LENGTH]}"
        images.append(Image(purpose, tag, context, installs))

    if plan.config.system_packages:
        add(
            "system",
            "install the system packages",
            packages=_shell_words(plan.config.system_packages),
        )
    pins = _template("requirements.txt")
    server = (_text("requirements.txt", pins), *_server_files())
    add(
        "server",
        f"install the server on {base}",
        *server,
        installs=True,
        port=EDGE_PORT,
        uid=UID,
        ready=READY,
    )
    if plan.requirements:
        lines = "".join(f"{line}\n" for line in plan.requirements)
        add(
            "environment",
            "install the requirements",
            _text("requirements.txt", lines),
            installs=True,
        )
    if plan.config.build_commands:
        add(
            "commands",
            "run the build commands",
            commands=[_shell(command) for command in plan.config.build_commands],
            uid=UID,
        )
    data = [file for file in plan.files if _is_data(plan, file)]
    if data:
        add("data", "add the data", *map(_release_file, data))
    return (*images, _release(plan, images[-1].tag))


def _release(plan: ReleasePlan, parent: str) -> Image:
    """Return the image of the release itself."""
    code = [_release_file(file) for file in plan.files if not _is_data(plan, file)]
    manifest = _text(f"release/{MANIFEST}", plan.manifest.to_json())
    names = (plan.config.data_dir, plan.config.bundled_packages_dir)
    dockerfile = _render(
        "release",
        parent=parent,
        model=plan.manifest.model,
        digest=plan.manifest.digest,
        tool_version=plan.manifest.tool_version,
        drain_timeout=plan.config.runtime.drain_timeout,
        secrets=" ".join(sorted(plan.config.secrets)),
    )
    folders = tuple(PurePosixPath("release", name) for name in names)
    context = Context((_text("Dockerfile", dockerfile), manifest, *code), folders)
    return Image("add the code", f"truss/{plan.manifest.model}:{context.digest[:TAG_LENGTH]}", context)


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


def _shell(command: str) -> str:
    """Return a command as what RUN takes whatever is in it, with the model's environment in front."""
    return json.dumps(["/bin/sh", "-ec", f"export PATH=/opt/model/bin:$PATH; {command}"])


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

    environment = jinja2.Environment(  # noqa: S701 no HTML
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    return environment.from_string(_template(f"{kind}.Dockerfile.jinja")).render(values)
