"""`truss image`: the image of a package, without deploying it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from truss import options
from truss.commands.logs import format_line
from truss.deps import Deps
from truss.errors import UsageError
from truss.image import build_image, write_build_context

if TYPE_CHECKING:
    from truss.release import Release
    from truss.targets.docker_works import DockerWorks

DEFAULT_PORT = 8080


def command(
    ctx: typer.Context,
    what: Annotated[
        Literal["build", "run", "build-context"],
        typer.Argument(
            metavar="build|run|build-context",
            help="build: make the image; run: make it and run it here until Ctrl-C; "
            "build-context: write what it is built from to a new folder.",
        ),
    ],
    first: Annotated[
        str,
        typer.Argument(metavar="[OUT|DIR]", help="New folder of build-context, else folder of the package."),
    ] = "",
    second: Annotated[
        str, typer.Argument(metavar="[DIR]", help="With build-context: folder of the package.")
    ] = "",
    *,
    tag: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Give the image this name as well, as NAME or NAME:TAG."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="With run: listen there on 127.0.0.1, 8080 without it.")
    ] = None,
    output: options.Output = "text",
) -> None:
    """Build the image of a package, run it, or write its build context.

    What runs has a read-only file system, no capabilities, and no shell is started in it.
    """
    deps = Deps.of(ctx)
    out, folder = (first, second) if what == "build-context" else ("", first)
    if (what == "build-context") != bool(out) or (what != "build-context" and second):
        raise UsageError(
            f"`truss image {what}` takes {'OUT and then DIR' if not out and not second else 'DIR alone'}."
        )
    package = Path(os.path.normpath(deps.cwd / folder))
    if what == "build-context":
        write_build_context(package, Path(os.path.normpath(deps.cwd / out)))
        return
    published = options.port_number(port) or DEFAULT_PORT
    works = deps.works()
    release = _build(deps, works, package, tag, as_json=output == "json")
    if what == "run":
        _run(deps, works, release, published, as_json=output == "json")


def _build(deps: Deps, works: DockerWorks, package: Path, tag: str | None, *, as_json: bool) -> Release:
    """Build the image and print its name."""
    console = deps.console()
    with console.progress(as_json=as_json) as progress:
        release = build_image(package, tag, works, progress)
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
