"""How the user reaches package indexes, said to uv, and nothing that would change which packages a release has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from truss.errors import BuildError
from truss.indexes import Indexes, read_indexes
from truss.uv_files import VARIABLES, machine_variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NOT_OURS = frozenset(
    {
        # A venv that happens to be active, or a wish to install system-wide, does not concern the model's environment.
        *("VIRTUAL_ENV", "CONDA_PREFIX", "UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_PROJECT", "UV_WORKING_DIR"),
        "UV_WORKING_DIRECTORY",
        # Which versions there are to be is for the package to say: other machines would make other environments.
        *("UV_OVERRIDE", "UV_CONSTRAINT", "UV_BUILD_CONSTRAINT", "UV_EXCLUDE", "UV_EXCLUDE_NEWER"),
        *("UV_PRERELEASE", "UV_RESOLUTION", "UV_FORK_STRATEGY", "UV_TORCH_BACKEND"),
        *("UV_NO_SOURCES", "UV_NO_SOURCES_PACKAGE", "UV_NO_VERIFY_HASHES"),
        # What these say is said anew.
        *("UV_CONFIG_FILE", "UV_NO_SYSTEM_CONFIG", "UV_NATIVE_TLS"),
        *(
            name
            for option in ("index-url", "extra-index-url", "find-links", "timeout")
            for name in VARIABLES[option]
        ),
    }
)
"""Variables of the user's that uv does not get."""


@dataclass(frozen=True)
class UvSettings:
    """What uv is to be started with.

    Attributes:
        environ: All of its environment.
        arguments: For the commands that resolve requirements.
        secrets: Passwords in the settings.
        folders: Of the user's, with packages.
    """

    environ: dict[str, str]
    arguments: tuple[str, ...] = ()
    secrets: frozenset[str] = frozenset()
    folders: tuple[Path, ...] = ()


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


def uv_settings(
    environ: Mapping[str, str], files: Iterable[Path] | None = None, lines: Iterable[str] = ()
) -> UvSettings:
    """Return the settings for uv in an environment.

    Args:
        environ: The user's environment.
        files: Configuration files of pip, the stronger ones last; by default those pip would read.
        lines: Of requirements files.

    Raises:
        BuildError: One of the files is broken.
    """
    indexes = read_indexes(environ, files, lines)
    own = {name: value for name, value in environ.items() if name not in NOT_OURS}
    found = {**machine_variables(environ), **own, **uv_words(indexes), **indexes.proxies}
    if indexes.system:
        found["UV_SYSTEM_CERTS"] = "1"
    elif indexes.certificates:
        found.setdefault("SSL_CERT_FILE", str(indexes.certificates))
    found["UV_NO_CONFIG"] = "1"  # uv would read the files of folders above, too
    arguments = ("--no-index",) if indexes.no_index else ()
    return UvSettings(found, arguments, indexes.secrets, indexes.folders)


def uv_words(indexes: Indexes) -> dict[str, str]:
    """Return the variables that lead uv to indexes."""
    said = {
        "UV_DEFAULT_INDEX": _location(indexes.index),
        "UV_INDEX": " ".join(map(_location, indexes.extra)),
        "UV_INDEX_STRATEGY": indexes.strategy,
        "UV_FIND_LINKS": ",".join([*indexes.links, *map(str, indexes.folders)]),
        "UV_INSECURE_HOST": " ".join(indexes.trusted),
        "UV_HTTP_TIMEOUT": indexes.timeout,
        "UV_OFFLINE": "1" if indexes.offline else "",
    }
    return {name: value for name, value in said.items() if value}


def _location(word: str) -> str:
    """Return the URL of an index, which may be a folder."""
    return word if "://" in word or not word else Path(word).expanduser().absolute().as_uri()
