"""The Python environment of a model on this machine: made by uv, holding what its author asked for and no more.

An environment lies in a folder named after what it holds. It is built in its final place, because environments
know where they are, and counts only once a marker, written last, says that it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from truss.errors import BuildError
from truss.find_links import name_of, needed
from truss.indexes import redactor
from truss.installs import CONSTRAINTS, LOCK, REQUIREMENTS, install_files, lock_text
from truss.memory import read_file
from truss.snapshot import read_verified
from truss.state import Lock, locked, write_json
from truss.uv_settings import UvSettings, find_uv, uv_settings
from truss.variables import secrets_in, variables, with_names

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

    from truss.progress import Progress
    from truss.release import PackageFile

MARKER = "complete.json"

SOURCES = "sources"
"""Holds, in an environment, the files it was made from."""

WAIT = 900.0
"""Seconds to wait for another push that is making the same environment."""

LIMIT = 3600.0
"""Seconds uv may take."""

KEPT_SECONDS = 14 * 24 * 3600.0
"""How long an environment is kept that no release needs: making it again may take minutes."""

TAIL = 40
"""Lines of uv's output that an error shows."""

KEY_LENGTH = 16


INTERPRETER = re.compile(r"cpython-(\d+\.\d+\.\d+)\S*\s+(/\S+)")
"""A line in uv's list of interpreters."""


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
    uv = _Uv(settings, folder, progress)
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
                uv.make(home, base, wanted, lock)
    return python


def _found(wanted: Wanted, settings: UvSettings) -> tuple[PackageFile, ...]:
    """Return the packages in the user's folders that may be installed: one rebuilt in place is another one."""
    wheels = [wheel.source for wheel in wanted.wheels]
    try:
        paths = needed((*wanted.requirements, *wanted.constraints), wheels, settings.folders, here=True)
        return tuple(map(read_file, paths))
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


class _Uv:
    """Runs uv.

    Args:
        settings: Environment and arguments.
        cwd: Folder without any project whose settings uv would take for ours.
        progress: Told what uv says.
    """

    def __init__(self, settings: UvSettings, cwd: Path, progress: Progress) -> None:
        self._binary = find_uv()
        self._redacted = redactor(settings.secrets)
        self._settings = settings
        self._cwd = cwd
        self._progress = progress

    def find(self, version: str) -> Path:
        """Return an interpreter of this machine of a version like `py312`."""
        number = f"3.{version.removeprefix('py3')}"
        code, lines = self._run(["python", "find", "--system", number], log=False)
        found = [line for line in lines if Path(line).is_absolute() and os.access(line, os.X_OK)]
        if code != 0 or not found:
            raise BuildError(
                f"There is no Python {number} on this machine, which config.yaml asks for.",
                details=f"Found: {', '.join(self._found())}.",
                hint="Install it and put it on PATH, take `python_version` out, or push with `--target docker`.",
            )
        return Path(found[-1])

    def _found(self) -> list[str]:
        """Return the interpreters of this machine, one of each version."""
        _, lines = self._run(["python", "list", "--only-installed"], log=False)
        found = [match for line in lines if (match := INTERPRETER.match(line))]
        first = {match[1]: match[2] for match in reversed(found)}
        return [f"{version} ({path})" for version, path in first.items()] or ["none"]

    def make(self, home: Path, base: Path, wanted: Wanted, lock: Lock) -> None:
        """Make an environment; the lock is held until uv is gone, even if this process is killed."""
        code, lines = self._run(
            ["venv", "--no-project", "--python", str(base), str(home)], lock=lock, log=False
        )
        if code != 0:
            raise BuildError(f"No environment could be made of {base}.", details="\n".join(lines))
        if wanted.requirements:
            self._install(home, wanted, lock)
        write_json(home / MARKER, {"python": str(base), "requirements": list(wanted.requirements)})

    def _install(self, home: Path, wanted: Wanted, lock: Lock) -> None:
        python = str(home / "bin" / "python")
        sources = home / SOURCES
        for path, content in install_files(wanted.requirements, wanted.constraints, wanted.wheels, "."):
            (sources / path).parent.mkdir(parents=True, exist_ok=True)
            (sources / path).write_bytes(content if isinstance(content, bytes) else read_verified(content))
        arguments = ["pip", "install", *self._settings.arguments, "--python", python]
        for name in sorted({name_of(one.source) for one in wanted.found}):
            arguments += [
                "--reinstall-package",
                name,
            ]  # else uv takes what its cache has of that name and version
        arguments += ["-r", REQUIREMENTS, *(("-c", CONSTRAINTS) if wanted.constraints else ())]
        code, lines = self._run(arguments, lock=lock, cwd=sources)
        if code != 0:
            raise BuildError(
                "The requirements could not be installed.",
                details="\n".join(lines),
                hint="Correct `requirements` in config.yaml.",
            )
        freeze = ["--quiet", "pip", "freeze", "--python", python]
        code, lines = self._run(freeze, lock=lock, log=False, kept=None, redacted=str)
        if code != 0:
            details = self._redacted("\n".join(lines))
            raise BuildError("What was installed could not be listed.", details=details)
        said = variables((*wanted.requirements, *wanted.constraints), self._settings.environ)
        text = lock_text((with_names(line, said) for line in lines), sources.as_uri())
        (home / LOCK).write_text(text, encoding="utf-8")

    def _run(
        self,
        arguments: Sequence[str],
        *,
        lock: Lock | None = None,
        log: bool = True,
        kept: int | None = TAIL,
        cwd: Path | None = None,
        redacted: Callable[[str], str] | None = None,
    ) -> tuple[int, list[str]]:
        """Return the exit code of a uv command and the last lines it said."""
        said: deque[str] = deque(maxlen=kept)
        command = [self._binary, "--no-python-downloads", "--color", "never", *arguments]
        with (
            subprocess.Popen(
                command,
                env=_with_pyenv(self._settings.environ),
                cwd=cwd or self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                pass_fds=() if lock is None else (lock.fd,),
                start_new_session=True,  # Ctrl-C comes to us, and we end uv with all that it has started
            ) as process,
            _ended(process),
        ):
            for line in process.stdout or ():
                text = (redacted or self._redacted)(re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", line).rstrip())
                said.append(text)
                if log and text:
                    self._progress.detail(text)
            code = process.wait()
        if code == -signal.SIGKILL:
            raise BuildError(
                "uv was killed.",
                details="\n".join(said),
                hint=f"Either the memory was used up, or it was still at work after {LIMIT / 60:.0f} minutes.",
            )
        return code, list(said)


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """Leave no process behind: none after an exception, none after the time is over."""

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(LIMIT, kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    except BaseException:
        kill()
        raise
    finally:
        timer.cancel()


def _with_pyenv(environ: Mapping[str, str]) -> dict[str, str]:
    """Add pyenv's interpreters behind PATH: its shims answer only for those that are switched on."""
    root = Path(environ.get("PYENV_ROOT") or Path(environ.get("HOME", "~")).expanduser() / ".pyenv")
    folders = sorted(map(str, root.glob("versions/3.*/bin")))
    return {**environ, "PATH": os.pathsep.join([environ.get("PATH", os.defpath), *folders])}
