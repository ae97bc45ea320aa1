"""A new package: a plan of its files, made from a template without touching the disk, and the one writer."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import truss_templates
from truss.errors import EngineError, TrussError, UsageError
from truss.names import slug

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCAFFOLDS = Path(truss_templates.__file__).resolve().parent / "scaffold"
COMMON = "common"
"""Folder of what every scaffold has; a template's file of the same path takes its place."""

RENDERED = ".jinja"
"""Suffix of what is rendered; all else is copied byte for byte."""

SHOWN = 8
"""Entries of a folder that an error names."""


@dataclass(frozen=True)
class Template:
    """A kind of package to begin with.

    Attributes:
        summary: What its model does, half a sentence.
        example: A request it answers, JSON.
    """

    summary: str
    example: str


TEMPLATES = {
    "basic": Template("answers with JSON", '{"prompt": "Hello"}'),
    "streaming": Template("streams text as it is produced", '{"prompt": "Tell me about falcons"}'),
    "chat": Template(
        "answers OpenAI's chat completions", '{"messages": [{"role": "user", "content": "Hello"}]}'
    ),
    "embeddings": Template("answers OpenAI's embeddings", '{"input": "The falcon is fast"}'),
    "falcon": Template(
        "streams text of a transformers checkpoint", '{"prompt": "Tell me about falcons", "do_sample": true}'
    ),
}


@dataclass(frozen=True)
class File:
    """A file to be written.

    Attributes:
        path: Relative to the folder that is made.
        content: Its bytes.
        mode: Its permissions, before the umask.
    """

    path: PurePosixPath
    content: bytes
    mode: int = 0o666


def plan_scaffold(template: str, name: str) -> list[File]:
    """Return the files of a new package, sorted by path.

    Args:
        template: One of `TEMPLATES`.
        name: Of the model, a slug.

    Raises:
        UsageError: There is no such template.
    """
    if template not in TEMPLATES:
        raise UsageError(f"There is no template {template!r}.", hint=f"Take one of {', '.join(TEMPLATES)}.")
    sources: dict[PurePosixPath, Path] = {}
    for layer in (SCAFFOLDS / COMMON, SCAFFOLDS / template):
        for source in layer.rglob("*"):
            if source.is_file() and "__pycache__" not in source.parts:
                path = source.relative_to(layer).as_posix()
                sources[PurePosixPath(path.removesuffix(RENDERED))] = source
    kind = TEMPLATES[template]
    values = {"name": name, "template": template, "summary": kind.summary, "example": kind.example}
    return [File(path, _content(sources[path], values)) for path in sorted(sources)]


def _content(source: Path, values: Mapping[str, str]) -> bytes:
    """Return what a source becomes: rendered where its name says so."""
    if source.suffix != RENDERED:
        return source.read_bytes()
    # Jinja is slow to import, and not needed to refuse a folder or a name.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(SCAFFOLDS),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 YAML and Markdown; HTML's escapes would be errors in them
    )
    environment.filters["yaml"] = yaml_scalar
    return environment.get_template(source.relative_to(SCAFFOLDS).as_posix()).render(values).encode()


def yaml_scalar(text: str) -> str:
    """Return a text as YAML that reads as that text, without quotes where it may."""
    words = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}
    plain = re.fullmatch(r"[a-z][a-z0-9._-]*", text) and text not in words
    return text if plain else json.dumps(text)


def name_for(folder: Path, name: str | None) -> str:
    """Return the name of the model in a new package.

    Args:
        folder: That is to be made.
        name: What the user wants, if anything.

    Raises:
        UsageError: Nothing is left of it in a slug.
    """
    wanted = folder.name if name is None else name
    found = slug(wanted)
    if not found:
        option = "" if name is None else "another "
        raise UsageError(
            f"{wanted!r} gives no name for the model: it needs a letter from a to z or a digit.",
            hint=f"Give {option}--name, such as --name my-model.",
        )
    return found


def write_scaffold(files: Iterable[File], folder: Path) -> None:
    """Write files into a folder that is new or empty: all of them, or, when that fails, none.

    Raises:
        UsageError: Something is there already.
        EngineError: The machine refuses to write.
    """
    refuse_taken(folder)
    above = [parent for parent in folder.parents if not parent.exists()]
    is_new = not folder.exists()
    temporary = (folder.parent if is_new else folder) / f".truss-init-{os.getpid()}"
    try:
        temporary.mkdir(parents=True)
        _write_files(files, temporary)
        if is_new:
            temporary.rename(folder)
        else:
            _move_up(temporary)
    except BaseException as exc:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in above:
            _remove_empty(parent)
        if isinstance(exc, OSError):
            raise EngineError(f"{folder} cannot be written: {exc.strerror or exc}.") from exc
        raise


def refuse_taken(folder: Path) -> None:
    """Raise `UsageError` where a package would not be alone."""
    hint = "Choose another folder: nothing is ever overwritten."
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file.", hint=hint)
    try:
        entries = sorted(entry.name for entry in folder.iterdir())
    except OSError as exc:
        raise EngineError(f"{folder} cannot be read: {exc.strerror or exc}.") from exc
    if entries:
        more = [f"... and {len(entries) - SHOWN} more"] if len(entries) > SHOWN else []
        details = "\n".join(f"  {line}" for line in [*entries[:SHOWN], *more])
        raise UsageError(f"{folder} is not empty.", details=details, hint=hint)


def _write_files(files: Iterable[File], root: Path) -> None:
    """Write files below a folder, and nowhere else."""
    inside = root.resolve()
    for file in files:
        path = (inside / file.path).resolve()
        if inside not in path.parents:
            raise TrussError(f"The template's file {file.path} would lie outside of the package.")
        path.parent.mkdir(parents=True, exist_ok=True)
        # The kernel applies the umask here; chmod would not.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode), "wb") as stream:
            stream.write(file.content)


def _move_up(temporary: Path) -> None:
    """Move what is in a folder into the one above; a shell may stand there, so that one is not replaced."""
    moved: list[Path] = []
    try:
        for entry in list(temporary.iterdir()):
            place = temporary.parent / entry.name
            if os.path.lexists(place):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))  # noqa: TRY301 undone below
            entry.rename(place)
            moved.append(place)
        temporary.rmdir()
    except BaseException:
        for place in moved:
            shutil.rmtree(place, ignore_errors=True)
            place.unlink(missing_ok=True)
        raise


def _remove_empty(folder: Path) -> None:
    """Remove a folder that was made for nothing."""
    try:
        folder.rmdir()
    except OSError:
        return
