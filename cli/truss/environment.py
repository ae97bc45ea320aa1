"""The Python environment of a model on this machine: made by uv, holding what its author asked for and no more.

An environment lies in a folder named after what it holds. It is built in its final place, because environments
know where they are, and counts only once a marker, written last, says that it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from truss.errors import BuildError
from truss.find_links import name_of, needed
from truss.installs import CONSTRAINTS, LOCK, REQUIREMENTS, install_files, lock_text
from truss.memory import read_files
from truss.snapshot import read_verified
from truss.state import Lock, locked, write_json
from truss.uv_run import Uv
from truss.uv_settings import UvSettings, uv_settings
from truss.variables import secrets_in, variables, with_names

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from truss.progress import Progress
    from truss.release import PackageFile

MARKER = "complete.json"

SOURCES = "sources"
"""Holds, in an environment, the files it was made from."""

WAIT = 900.0
"""Seconds to wait for another push that is making the same environment."""

KEPT_SECONDS = 14 * 24 * 3600.0
"""How long an environment is kept that no release needs: making it again may take minutes."""

KEY_LENGTH = 16


@dataclass(frozen=True)
class Wanted:
    """What an environment is to be.

    Attributes:
        requirements: Lines of a requirements file.
        python: `py312`, or None for the interpreter that runs this.
        constraints: Lines of a constraints file.
        wheels: Files that requirements name.
        found: Packages in the user's folders that may be installed.
    """

    requirements: tuple[str, ...]
    python: str | None
    constraints: tuple[str, ...] = ()
    wheels: tuple[PackageFile, ...] = ()
    found: tuple[PackageFile, ...] = ()

    def key(self, base: Path, version: str) -> str:
        """Return a name for what an environment holds, which the order of the requirements does not change."""
        held: list[object] = [sorted(self.requirements), os.path.realpath(base), version]
        if self.constraints or self.wheels:
            held += [sorted(self.constraints), sorted((str(one.path), one.sha256) for one in self.wheels)]
        if self.found:
            held.append(sorted((str(one.path), one.sha256) for one in self.found))
        return f"{version}-{hashlib.sha256(json.dumps(held).encode()).hexdigest()[:KEY_LENGTH]}"


def model_python(
    wanted: Wanted, folder: Path, progress: Progress, environ: Mapping[str, str] = os.environ
) -> Path:
    """Return the interpreter of an environment that holds what is wanted, made where it is not there yet.

    Args:
        wanted: What to make.
        folder: Where environments are kept.
        progress: Told what uv says.
        environ: The user's environment variables.

    Raises:
        BuildError: No such interpreter, or requirements that cannot be installed.
        EngineError: Another push has been making the same environment for too long.
    """
    ours = f"py3{sys.version_info.minor}"
    if wanted.python in {None, ours} and not wanted.requirements:
        return Path(sys.executable)
    folder.mkdir(parents=True, exist_ok=True)
    asked = (*wanted.requirements, *wanted.constraints)
    settings = uv_settings(environ, lines=asked)
    settings = replace(settings, secrets=settings.secrets | secrets_in(asked, environ))
    wanted = replace(wanted, found=_found(wanted, settings))
    uv = Uv(settings, folder, progress)
    base = Path(sys.executable) if wanted.python in {None, ours} else uv.find(wanted.python or ours)
    home = folder / wanted.key(base, wanted.python or ours)
    python = home / "bin" / "python"
    with locked(
        home.with_suffix(".lock"),
        timeout=WAIT,
        busy=f"Another push has been making this environment for {WAIT / 60:.0f} minutes.",
        waiting=lambda: progress.detail("another push is making this environment; waiting for it"),
    ) as lock:
        if (home / MARKER).exists() and python.exists():
            os.utime(home / MARKER)  # the last to be pruned
        else:
            with _whole_or_nothing(home):
                _make(uv, home, base, wanted, lock)
    return python


def _found(wanted: Wanted, settings: UvSettings) -> tuple[PackageFile, ...]:
    """Return the packages in the user's folders that may be installed: one rebuilt in place is another one."""
    wheels = [wheel.source for wheel in wanted.wheels]
    try:
        paths = needed((*wanted.requirements, *wanted.constraints), wheels, settings.folders, here=True)
        return tuple(read_files(paths))
    except OSError as exc:
        raise BuildError(f"{exc.filename}, a package of yours, cannot be read: {exc.strerror}.") from exc


def prune_environments(folder: Path, used: Container[Path], now: float) -> None:
    """Remove the environments that nobody has wanted for a while.

    Args:
        folder: Where environments are kept.
        used: Those that stay, however old they are.
        now: Seconds since the epoch.
    """
    for marker in folder.glob(f"*/{MARKER}"):
        home = marker.parent
        if home in used or now - marker.stat().st_mtime < KEPT_SECONDS:
            continue
        lock = Lock.take(home.with_suffix(".lock"))
        if lock is not None:  # else a push is about to use it
            with closing(lock):
                shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _whole_or_nothing(home: Path) -> Iterator[None]:
    shutil.rmtree(home, ignore_errors=True)  # what somebody left who was killed
    try:
        yield
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


def _make(uv: Uv, home: Path, base: Path, wanted: Wanted, lock: Lock) -> None:
    """Make an environment; the lock is held until uv is gone, even if this process is killed."""
    code, lines = uv.run(["venv", "--no-project", "--python", str(base), str(home)], lock=lock, log=False)
    if code != 0:
        raise BuildError(f"No environment could be made of {base}.", details="\n".join(lines))
    if wanted.requirements:
        _install(uv, home, wanted, lock)
    write_json(home / MARKER, {"python": str(base), "requirements": list(wanted.requirements)})


def _install(uv: Uv, home: Path, wanted: Wanted, lock: Lock) -> None:
    python = str(home / "bin" / "python")
    sources = home / SOURCES
    for path, content in install_files(wanted.requirements, wanted.constraints, wanted.wheels, "."):
        (sources / path).parent.mkdir(parents=True, exist_ok=True)
        (sources / path).write_bytes(content if isinstance(content, bytes) else read_verified(content))
    arguments = ["pip", "install", *uv.settings.arguments, "--python", python]
    for name in sorted({name_of(one.source) for one in wanted.found}):
        # Else uv takes what its cache has of that name and version.
        arguments += ["--reinstall-package", name]
    arguments += ["-r", REQUIREMENTS, *(("-c", CONSTRAINTS) if wanted.constraints else ())]
    code, lines = uv.run(arguments, lock=lock, cwd=sources)
    if code != 0:
        raise BuildError("The requirements could not be installed.", details="\n".join(lines))
    freeze = ["--quiet", "pip", "freeze", "--python", python]
    code, lines = uv.run(freeze, lock=lock, log=False, kept=None, redacted=str)
    if code != 0:
        details = uv.redacted("\n".join(lines))
        raise BuildError("What was installed could not be listed.", details=details)
    said = variables((*wanted.requirements, *wanted.constraints), uv.settings.environ)
    text = lock_text((with_names(line, said) for line in lines), sources.as_uri())
    (home / LOCK).write_text(text, encoding="utf-8")
