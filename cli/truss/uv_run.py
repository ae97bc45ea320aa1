"""Runs uv on this machine: what it says is shown, and it ends with us."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections import deque
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from truss.errors import BuildError
from truss.indexes import redactor
from truss.uv_settings import UvSettings, find_uv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from truss.progress import Progress
    from truss.state import Lock

LIMIT = 3600.0
"""Seconds uv may take."""

TAIL = 40
"""Lines of uv's output that an error shows."""

INTERPRETER = re.compile(r"cpython-(\d+\.\d+\.\d+)\S*\s+(/\S+)")
"""A line in uv's list of interpreters."""


class Uv:
    """Runs uv.

    Args:
        settings: Environment and arguments.
        cwd: Folder without any project whose settings uv would take for ours.
        progress: Told what uv says.

    Attributes:
        settings: As they were given.
        redacted: Puts stars in place of the secrets of the settings.
    """

    def __init__(self, settings: UvSettings, cwd: Path, progress: Progress) -> None:
        self._binary = find_uv()
        self.redacted = redactor(settings.secrets)
        self.settings = settings
        self._cwd = cwd
        self._progress = progress

    def find(self, version: str) -> Path:
        """Return an interpreter of this machine of a version like `py312`.

        Raises:
            BuildError: There is none.
        """
        number = f"3.{version.removeprefix('py3')}"
        code, lines = self.run(["python", "find", "--system", number], log=False)
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
        _, lines = self.run(["python", "list", "--only-installed"], log=False)
        found = [match for line in lines if (match := INTERPRETER.match(line))]
        first = {match[1]: match[2] for match in reversed(found)}
        return [f"{version} ({path})" for version, path in first.items()] or ["none"]

    def run(
        self,
        arguments: Sequence[str],
        *,
        lock: Lock | None = None,
        log: bool = True,
        kept: int | None = TAIL,
        cwd: Path | None = None,
        redacted: Callable[[str], str] | None = None,
    ) -> tuple[int, list[str]]:
        """Return the exit code of a uv command and the last lines it said.

        Args:
            arguments: Of uv.
            lock: Is held until uv is gone, even if this process is killed.
            log: Whether progress is told what it says.
            kept: How many lines are returned; None for all of them.
            cwd: Another folder to run in.
            redacted: What is done to each line instead of hiding secrets.

        Raises:
            BuildError: It was killed, or took too long.
        """
        said: deque[str] = deque(maxlen=kept)
        command = [self._binary, "--no-python-downloads", "--color", "never", *arguments]
        with (
            subprocess.Popen(
                command,
                env=_with_pyenv(self.settings.environ),
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
                text = (redacted or self.redacted)(re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "", line).rstrip())
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
