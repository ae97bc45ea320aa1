"""How the user reaches a package index, said to uv: its own variables first, then pip's, then pip's files."""

from __future__ import annotations

import configparser
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from truss.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PIP_VARIABLES = {
    "index-url": ("PIP_INDEX_URL",),
    "extra-index-url": ("PIP_EXTRA_INDEX_URL",),
    "find-links": ("PIP_FIND_LINKS",),
    "no-index": ("PIP_NO_INDEX",),
    "trusted-host": ("PIP_TRUSTED_HOST",),
    "cert": ("PIP_CERT",),
    "timeout": ("PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT"),
}
"""Options of pip and the variables that set them, the stronger one first."""

UV_VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "find-links": ("UV_FIND_LINKS",),
    "trusted-host": ("UV_INSECURE_HOST",),
    "cert": ("SSL_CERT_FILE",),
    "timeout": ("UV_HTTP_TIMEOUT",),
}
"""What uv calls them: the first is set, unless any of them is set already."""

TRUE = {"1", "true", "yes", "on", "y", "t"}


@dataclass(frozen=True)
class UvSettings:
    """What uv is to be started with.

    Attributes:
        environ: All of its environment.
        arguments: For the commands that resolve requirements.
    """

    environ: dict[str, str]
    arguments: tuple[str, ...] = ()


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
    options = _options_of_files(pip_files(environ) if files is None else files)
    for option, names in PIP_VARIABLES.items():
        value = next((environ[name] for name in names if environ.get(name)), "")
        if value:
            options[option] = value
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
    no_index = options.get("no-index", "").lower() in TRUE
    return UvSettings(found, ("--no-index",) if no_index else ())


def pip_files(environ: Mapping[str, str]) -> list[Path]:
    """Return the files pip would read, the stronger ones last."""
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return []
    home = Path(environ.get("HOME", "~")).expanduser()
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    shared = [
        Path(folder) for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep) if folder
    ]
    found = [*(folder / "pip" / "pip.conf" for folder in reversed(shared)), Path("/etc/pip.conf")]
    found += [home / ".pip" / "pip.conf", user / "pip" / "pip.conf", Path(sys.prefix) / "pip.conf"]
    return [*found, Path(named)] if named else found


def _options_of_files(files: Iterable[Path]) -> dict[str, str]:
    options: dict[str, str] = {}
    for path in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as exc:
            raise BuildError(f"pip's configuration {path} cannot be read.", details=str(exc)) from exc
        for section in ("global", "install"):
            if parser.has_section(section):
                options.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    return options


def _said_to_uv(option: str, value: str) -> str:
    words = value.split()
    if option != "find-links":
        return " ".join(words)
    return ",".join(word if "://" in word else str(Path(word).expanduser().absolute()) for word in words)
