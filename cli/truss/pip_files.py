"""What pip is told by its variables and its files."""

from __future__ import annotations

import configparser
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from truss.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VARIABLES = {
    "index-url": ("PIP_INDEX_URL",),
    "extra-index-url": ("PIP_EXTRA_INDEX_URL",),
    "find-links": ("PIP_FIND_LINKS",),
    "no-index": ("PIP_NO_INDEX",),
    "trusted-host": ("PIP_TRUSTED_HOST",),
    "cert": ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    "timeout": ("PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT"),
    "proxy": ("PIP_PROXY",),
}
"""Options of pip and the variables that set them, the stronger one first."""


def pip_variables(environ: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the options in pip's variables, each as words."""
    found = {
        option: [environ[name] for name in names if environ.get(name)] for option, names in VARIABLES.items()
    }
    return {option: values[0].split() for option, values in found.items() if values}


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


def pip_options(environ: Mapping[str, str], files: Iterable[Path] | None = None) -> dict[str, list[str]]:
    """Return the options in pip's files, each as words: [install] of any file before [global] of any, as pip does.

    Raises:
        BuildError: One of them is broken.
    """
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for path in pip_files(environ) if files is None else files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as exc:
            raise BuildError(f"pip's configuration {path} cannot be read.", details=str(exc)) from exc
        for section, options in sections.items():
            if parser.has_section(section):
                options.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    return {option: value.split() for option, value in {**sections["global"], **sections["install"]}.items()}
