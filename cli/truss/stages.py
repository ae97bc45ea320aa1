"""What a release is made of, stage upon stage, each with the files that it needs."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from truss.config_values import EDGE_PORT
from truss.context import Member
from truss.gpus import gpus_wanted
from truss.installs import install_files
from truss.pip_settings import PIP_CONF, SETTINGS, UV_ENV, WHEELS
from truss.variables import variable_names
from truss_server.protocol import MANIFEST, READY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from importlib.resources.abc import Traversable

    from truss.release import PackageFile, ReleasePlan

UID = 10001
"""User and group of the server inside its container, nobody's on the machine around it."""

BUILD_FOLDER = SETTINGS.parent
"""Inside an image that is being built: where uv, its cache, the user's settings and what is installed are mounted."""

SOURCES = PurePosixPath("sources")
"""Below that folder: what the requirements are read from."""

HOME = PurePosixPath("/home/truss")
"""Inside a container: the home of whoever the server runs as."""

CACHE_DIGITS = 8
"""Of a hash, in the name of a volume."""

CACHE = HOME / ".cache"
"""Inside a container: where libraries keep what they download, checkpoints above all."""

LOCK = PurePosixPath("/opt/model/requirements.lock")
"""Inside an image: what the requirements came to."""

INTO_MODEL = "PIP_PYTHON=/opt/model/bin/python VIRTUAL_ENV=/opt/model"
USERS_SETTINGS = (
    f"if [ -e {SETTINGS}/{UV_ENV} ]; then"
    f" . {SETTINGS}/{UV_ENV}; export PIP_CONFIG_FILE={SETTINGS}/{PIP_CONF}; fi"
)
"""For a shell: they are mounted while a command runs, unless it is plain `docker build` that runs it."""

OLDER = "/opt/truss/edge/pyvenv.cfg"
"""Inside an image: older than what build commands make, newer than the base image."""

NAMES_AGAIN = "variables.py"
"""Template that is run where requirements name variables."""

BUILD_ARG = "TRUSS_BUILD"
"""Argument of a build: what it leaves behind is found by it."""

OPENAPI = "/openapi.json"
"""Where a server shows its OpenAPI document; the label of an image says so where the model has no types to tell of."""


@dataclass(frozen=True)
class Stage:
    """One of the stages a release is made of.

    Attributes:
        kind: Names it and its template.
        purpose: What building it does, after "Docker could not".
        members: Files that it needs.
        folders: Exist in its context whether or not there are files in them.
        values: For its template.
        installs: Whether it installs something, with the user's settings.
        beside: Whether others only take files from it, and none stands upon it.
        commands: What it runs, each with the user's settings and secrets mounted.
        secrets: Of the user, by name: the paths where the commands find them.
        tidy: A last command, which is run without them: it removes the empty files that they were mounted upon.
        written: The commands as the user wrote them, where there are such.
    """

    kind: str
    purpose: str
    members: tuple[Member, ...] = ()
    folders: tuple[PurePosixPath, ...] = ()
    values: Mapping[str, object] = field(default_factory=dict)
    installs: bool = False
    beside: bool = False
    commands: tuple[tuple[str, ...], ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    tidy: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


def base_image(plan: ReleasePlan) -> str:
    """Return the name of the image that a plan starts from."""
    version = plan.config.python_version.removeprefix("py3")
    return plan.config.base_image.image or f"python:3.{version}-slim"


def stages(plan: ReleasePlan) -> Iterator[Stage]:
    """Yield the stages of a release in the order in which they are built; the last one is the release."""
    base = base_image(plan)
    python = plan.config.base_image.python_executable_path or "python3"
    if wanted := (*plan.config.system_packages, *_server_packages(plan)):
        yield _system(base, _shell_words(wanted))
    yield Stage(
        "uv",
        f"install uv on {base}",
        (_ours("uv.txt"),),
        (WHEELS,),
        {"python": python},
        installs=True,
        beside=True,
    )
    yield Stage(
        "server",
        f"install the server on {base}",
        (_ours("requirements.txt"), *_server_files()),
        (WHEELS,),
        values={"port": EDGE_PORT, "ready": READY, "python": python, "cache": CACHE},
        installs=True,
    )
    if plan.requirements:
        yield _environment(plan)
    if plan.config.build_commands:
        yield _commands(plan)
    server = plan.config.docker_server
    if server is not None and server.run_as_user_id is not None:
        yield Stage("user", "let the server run as another user", values={"user": server.run_as_user_id})
    for kind in ("data", "packages"):
        if files_of := [file for file in plan.files if _layer(plan, file) == kind]:
            yield Stage(kind, f"add the {kind}", tuple(_package_file(kind, file) for file in files_of))
    yield _release(plan)


def _system(base: str, packages: str) -> Stage:
    """Return the stage of the system packages."""
    script = (
        f"{USERS_SETTINGS}; command -v apt-get >/dev/null"
        f' || {{ echo "system_packages needs an image with apt-get, and {base} has none" >&2; exit 1; }};'
        " apt-get update;"
        f" DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends {packages};"
        " apt-get clean; rm -rf /var/lib/apt/lists/*"
    )
    return _running("system", "install the system packages", [("/bin/sh", "-ec", script)])


def takes_command(plan: ReleasePlan) -> bool:
    """Return whether a release is started by the command of its base image."""
    server = plan.config.docker_server
    return server is not None and server.start_command is None


def _server_packages(plan: ReleasePlan) -> tuple[str, ...]:
    """Return what the server's own interpreter comes with, where that of the image is too old for it."""
    too_old = plan.config.base_image.image is None and plan.config.python_version == "py39"
    return ("python3", "python3-venv") if too_old else ()


def _environment(plan: ReleasePlan) -> Stage:
    """Return the stage of the requirements."""
    inside = str(BUILD_FOLDER / SOURCES)
    made_from = install_files(plan.requirements, plan.constraints, plan.wheels, inside)
    members = [Member(SOURCES / path, content) for path, content in made_from]
    named = variable_names((*plan.requirements, *plan.constraints))
    if named:
        members.append(text_member(str(SOURCES / NAMES_AGAIN), template(NAMES_AGAIN)))
    values = {"variables": named, "names_again": NAMES_AGAIN, "constrained": bool(plan.constraints)}
    return Stage("environment", "install the requirements", tuple(members), (WHEELS,), values, installs=True)


def _commands(plan: ReleasePlan) -> Stage:
    """Return the stage of the build commands."""
    commands = [_shell(command) for command in plan.config.build_commands]
    mapped = plan.config.build.secret_to_path_mapping
    # Empty, and no older than the server: then it is what the secret was mounted upon, and none of the base image.
    empty = "; ".join(f"[ -s {path} ] || [ {path} -ot {OLDER} ] || rm -f {path}" for path in mapped.values())
    # What root has made in its home, a cache of pip for example, is the model's to write to.
    script = "; ".join(filter(None, (empty, f"chown -R {UID}:{UID} {HOME}")))
    made = _running("commands", "run the build commands", commands, mapped, ("/bin/sh", "-ec", script))
    return replace(made, written=plan.config.build_commands)


def _running(
    kind: str,
    purpose: str,
    commands: Sequence[tuple[str, ...]],
    mapped: Mapping[str, str] | None = None,
    tidy: tuple[str, ...] = (),
) -> Stage:
    """Return a stage that is made by commands, which have the user's settings and secrets."""
    mapped = mapped or {}
    values = {
        "commands": [json.dumps(command) for command in commands],
        "mapped": mapped,
        "tidy": json.dumps(tidy),
    }
    return Stage(
        kind,
        purpose,
        folders=(WHEELS,),
        values=values,
        installs=True,
        commands=tuple(commands),
        secrets=mapped,
        tidy=tidy,
    )


def _release(plan: ReleasePlan) -> Stage:
    """Return the stage of the release itself."""
    code = [_package_file("release", file) for file in plan.files if _layer(plan, file) == "release"]
    manifest = text_member(f"release/{MANIFEST}", plan.manifest.to_json())
    names = (plan.config.data_dir, plan.config.bundled_packages_dir)
    values = {
        "model": plan.manifest.model,
        "digest": plan.manifest.digest,
        "tool_version": plan.manifest.tool_version,
        "drain_timeout": plan.config.runtime.drain_timeout,
        "gpus": gpus_wanted(plan.config.resources),
        "openapi": OPENAPI,
        "secrets": " ".join(sorted(plan.config.model_secrets)),
        "cache": _cache_name(plan),
        "takes_command": takes_command(plan),
    }
    folders = tuple(PurePosixPath("release", name) for name in names)
    return Stage("release", "add the code", (manifest, *code), folders, values)


def _cache_name(plan: ReleasePlan) -> str:
    """Return what tells the cache of a release from others of its model: commands that may fill it differently.

    A volume takes what an image has in its place only while it is empty.
    """
    commands = json.dumps(plan.config.build_commands).encode()
    return hashlib.sha256(commands).hexdigest()[:CACHE_DIGITS] if plan.config.build_commands else ""


def text_member(path: str, text: str) -> Member:
    """Return a text of ours as a member of a context."""
    return Member(PurePosixPath(path), text.encode())


def template(name: str) -> str:
    """Return the text of a file of the Docker templates."""
    return (files("truss_templates") / "docker" / name).read_text(encoding="utf-8")


def _ours(name: str) -> Member:
    """Return a file of the Docker templates as a member of a context."""
    return text_member(name, template(name))


def _layer(plan: ReleasePlan, file: PackageFile) -> str:
    """Return the kind of the stage that a file of the package belongs to."""
    if PurePosixPath(plan.config.data_dir) in file.path.parents:
        return "data"
    return "packages" if PurePosixPath(plan.config.bundled_packages_dir) in file.path.parents else "release"


def _package_file(folder: str, file: PackageFile) -> Member:
    """Return a file of the package as a member of a context."""
    return Member(folder / file.path, file, file.executable)


def _shell_words(lines: tuple[str, ...]) -> str:
    """Return lines of words, as a user writes them, as words of a shell command."""
    return shlex.join(word for line in lines for word in line.split())


def _shell(command: str) -> tuple[str, ...]:
    """Return the words of a command that runs another one with the model's environment in front.

    That has no pip of its own: pip of the image installs into it.
    """
    return (
        "/bin/sh",
        "-ec",
        f"unset {BUILD_ARG}; export PATH=/opt/model/bin:$PATH {INTO_MODEL}; {USERS_SETTINGS}; {command}",
    )


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
