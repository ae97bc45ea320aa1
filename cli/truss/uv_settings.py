"""How the user reaches a package index, said to uv: its own variables first, then pip's, then pip's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from truss.errors import BuildError
from truss.indexes import TRUE, UV_VARIABLES, pip_options, pip_variables, read_indexes, uv_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class UvSettings:
    """What uv is to be started with.

    Attributes:
        environ: All of its environment.
        arguments: For the commands that resolve requirements.
        secrets: Passwords in the settings.
    """

    environ: dict[str, str]
    arguments: tuple[str, ...] = ()
    secrets: frozenset[str] = frozenset()


def find_uv() -> str:
    """Return the path of uv's program.

    Raises:
        BuildError: It is not installed.
    """
    import uv

    try:
        return uv.find_uv_bin()
    except FileNotFoundError as exc:
        hint = "`pip install uv` into the environment of truss."
        raise BuildError("uv is not installed.", hint=hint) from exc


def uv_settings(environ: Mapping[str, str], files: Iterable[Path] | None = None) -> UvSettings:
    """Return the settings for uv in an environment.

    Args:
        environ: The user's environment.
        files: Configuration files of pip, the stronger ones last; by default those pip would read.

    Raises:
        BuildError: One of the files is broken.
    """
    by_itself = uv_options(environ)
    options = {name: words for name, words in pip_options(environ, files).items() if name not in by_itself}
    options.update(pip_variables(environ))
    found = dict(environ)
    for option, names in UV_VARIABLES.items():
        if options.get(option) and not any(environ.get(name) for name in names):
            found[names[0]] = _said_to_uv(option, options[option])
            if (
                option == "extra-index-url"
            ):  # pip takes the best of all indexes, and its users expect just that
                found.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    # A venv that happens to be active, or a wish to install system-wide, does not concern the model's environment.
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_PROJECT"):
        found.pop(name, None)
    no_index = "".join(options.get("no-index", ())).lower() in TRUE
    return UvSettings(found, ("--no-index",) if no_index else (), read_indexes(environ, files).secrets)


def _said_to_uv(option: str, words: list[str]) -> str:
    if option != "find-links":
        return " ".join(words)
    return ",".join(word if "://" in word else str(Path(word).expanduser().absolute()) for word in words)
