"""`truss image`: the image of a package, without deploying it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from truss import options
from truss.commands.logs import format_line
from truss.deps import Deps
from truss.image import build_image, write_build_context

if TYPE_CHECKING:
    from truss.release import Release
    from truss.targets.docker_works import DockerWorks

DEFAULT_PORT = 8080


Tag = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Give the image this name as well, as NAME or NAME:TAG."),
]


def build(
    ctx: typer.Context, folder: options.Folder = ".", *, tag: Tag = None, output: options.Output = "text"
) -> None:
    """Build the image of a package and print its name."""
    deps = Deps.of(ctx)
    named = options.image_name(tag)
    _build(deps, deps.works(), _folder(deps, folder), named, as_json=output == "json")


def run(
    ctx: typer.Context,
    folder: options.Folder = ".",
    *,
    tag: Tag = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Listen there on 127.0.0.1, 8080 without it.")
    ] = None,
    output: options.Output = "text",
) -> None:
    """Build the image of a package and run it here until Ctrl-C.

    It has a read-only file system and no capabilities, and no shell is started in it.
    """
    deps, as_json = Deps.of(ctx), output == "json"
    published = options.port_number(port) or DEFAULT_PORT
    named = options.image_name(tag)
    works = deps.works()
    works.run.check_port(published)
    release = _build(deps, works, _folder(deps, folder), named, as_json=as_json)
    _run(deps, works, release, published, as_json=as_json)


def build_context(
    ctx: typer.Context,
    out: Annotated[str, typer.Argument(metavar="OUT", help="New folder.")],
    folder: options.Folder = ".",
) -> None:
    """Write its build context to a new folder.

    Plain `docker build` makes the same image from it.
    """
    deps = Deps.of(ctx)
    with deps.console().progress() as progress:
        write_build_context(_folder(deps, folder), _folder(deps, out), deps.client, progress)


def _folder(deps: Deps, given: str) -> Path:
    """Return the folder that is meant."""
    return Path(os.path.normpath(deps.cwd / given))


def _build(deps: Deps, works: DockerWorks, package: Path, tag: str | None, *, as_json: bool) -> Release:
    """Build the image and print its name."""
    console = deps.console()
    with console.progress(as_json=as_json) as progress:
        release = build_image(package, tag, works, deps.client, progress)
    done = {"event": "built", "image": release.reference, "digest": release.digest, "tag": tag}
    console.print_data(json.dumps(done) + "\n" if as_json else f"{tag or release.reference}\n")
    return release


def _run(deps: Deps, works: DockerWorks, release: Release, port: int, *, as_json: bool) -> None:
    """Run an image and print what it logs until it ends or the user ends it."""
    console, run = deps.console(), works.run
    with run.running(release.reference, port) as container:
        console.print_note(f"http://127.0.0.1:{port} answers once the model is loaded; Ctrl-C ends it.")
        try:
            for line in run.logs(container):
                console.print_data(f"{line}\n" if as_json else f"{format_line(line)}\n")
        except KeyboardInterrupt:
            console.print_note("ended; running requests may finish")


COMMANDS = {"build": build, "run": run, "build-context": build_context}
