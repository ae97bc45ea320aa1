"""Builds images with BuildKit, for the sake of its mounts, through Docker's own command line.

The engine's API offers them to those alone who speak BuildKit's session protocol; the command line does.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import select
import signal
import subprocess
import tempfile
import threading
from collections import defaultdict, deque
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from truss.errors import EngineError
from truss.images import BUILDKIT_DOCKERFILE, DOCKERFILE
from truss.indexes import redactor
from truss.targets.build_output import SHOWN_LINES, Lines, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from truss.errors import BuildError
    from truss.images import Image
    from truss.pip_settings import PipSettings
    from truss.progress import Progress

FIND_LIMIT_SECONDS = 5.0
SILENCE_LIMIT_SECONDS = 1800
"""How long a build may say nothing: compiling a large package takes its time."""

END_LIMIT_SECONDS = 10.0
PIECE_BYTES = 65536

ELSEWHERE = {"BUILDX_BUILDER", "DOCKER_DEFAULT_PLATFORM"}
"""Variables that have the command line build elsewhere, or for another machine than the engine's."""

SAID = re.compile(r"#(\d+) (?:(?P<time>\d+\.\d+) (?P<text>.*?)(?:#\1 DONE \d+\.\ds)?|ERROR: (?P<error>.*))")
"""What a step says; where that does not end with a line, its end stands in the same one."""

CODE = re.compile(r"exit code: (\d+)")


class BuildKit:
    """Docker's command line with BuildKit in it.

    Args:
        program: Its path.
        environ: The user's environment: where the engine is, and proxies.
    """

    def __init__(self, program: str, environ: Mapping[str, str]) -> None:
        self._program = program
        self._environ = _with_buildkit(environ)

    @classmethod
    def find(cls, environ: Mapping[str, str]) -> BuildKit | None:
        """Return the first command line on PATH whose `build` can mount secrets, None where there is none."""
        for folder in environ.get("PATH", os.defpath).split(os.pathsep):
            program = str(Path(folder) / "docker")
            if os.access(program, os.X_OK) and _mounts_secrets(program, environ):
                return cls(program, environ)
        return None

    def build(
        self,
        image: Image,
        settings: PipSettings,
        arguments: Mapping[str, str],
        progress: Progress,
        folder: Path,
    ) -> None:
        """Build an image and tag it.

        Args:
            image: What to build.
            settings: Are mounted where something is installed, and nowhere else.
            arguments: For its Dockerfile.
            progress: Is told what the steps say.
            folder: Where the settings are while they are mounted.

        Raises:
            BuildError: A step failed; its last lines are shown.
            EngineError: The build said nothing for too long.
        """
        with tempfile.TemporaryDirectory(dir=folder) as place:
            files = settings.write(Path(place)) if image.installs else {}
            secrets = [word for name, path in files.items() for word in ("--secret", _field(name, path))]
            # Values come from the environment: those of a command line are for everybody to read.
            named = [word for name in arguments for word in ("--build-arg", name)]
            file = BUILDKIT_DOCKERFILE if image.installs else DOCKERFILE
            command = [self._program, "build", "--progress=plain", "--file", file]
            command += ["--tag", image.tag, *named, *secrets, "-"]
            with (
                subprocess.Popen(
                    command,
                    env={**self._environ, **arguments},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C comes to us, and we end it
                ) as process,
                _ended(process),
            ):
                sender = _Sender(process, image.context.tar(settings.wheels if image.installs else ()))
                output = _Output()
                for line in _lines(process, redactor(settings.secrets)):
                    if text := output.take(line):
                        progress.detail(text)
                sender.finish()
                if process.wait(END_LIMIT_SECONDS) != 0:
                    raise output.failure(image, settings)


class _Output:
    """Knows the lines of BuildKit's plain progress: `#STEP SECONDS TEXT`, `#STEP ERROR: TEXT`."""

    def __init__(self) -> None:
        self._steps: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=SHOWN_LINES))
        self._all: deque[str] = deque(maxlen=SHOWN_LINES)
        self._failed: tuple[str, str] | None = None

    def take(self, line: str) -> str:
        """Take a line; return what a step says in it, empty where that is nothing."""
        self._all.append(line)
        match = SAID.fullmatch(line)
        if match is None:
            return ""
        if match["error"] is not None:
            self._failed = self._failed or (match[1], match["error"])
            return ""
        text = match["text"].rstrip()
        if self._failed is not None and self._failed[0] == match[1]:
            return ""  # the last lines once more
        if text:
            self._steps[match[1]].append(text)
        return text

    def failure(self, image: Image, settings: PipSettings) -> BuildError:
        """Return the error of the step that failed first."""
        if self._failed is None:
            return failure(image, settings, self._all, None)
        step, error = self._failed
        code = CODE.search(error)
        number = _number(image, error, redactor(settings.secrets))
        said = self._steps.get(step) or ([error] if number is None or code is None else [])
        return failure(image, settings, said, int(code[1]) if code else None, number)


def _number(image: Image, error: str, redacted: Callable[[str], str]) -> int | None:
    """Return which of the commands of an image BuildKit's error is of, None where it is of none of the user's."""
    for number, command in enumerate(image.commands[: len(image.written)]):
        words = redacted(" ".join(command))
        # In brackets from an old BuildKit; from a newer one in quotes, and with escapes for what cannot be printed.
        quoted = {json.dumps(words, ensure_ascii=ascii_only) for ascii_only in (True, False)}
        if f"[{words}]" in error or any(one in error for one in quoted):
            return number
    return None


class _Sender:
    """Writes a context to a process while somebody else reads what it says; holds one piece of it at a time."""

    def __init__(self, process: subprocess.Popen[bytes], context: Iterable[bytes]) -> None:
        self._process = process
        self._context = context
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the end; raise what kept the context from being read."""
        self._thread.join(END_LIMIT_SECONDS)
        if self._error is not None:
            raise self._error

    def _send(self) -> None:
        stdin = self._process.stdin
        try:
            for piece in self._context:
                stdin.write(piece)  # type: ignore[union-attr]
            stdin.close()  # type: ignore[union-attr]
        except BrokenPipeError:
            with suppress(BrokenPipeError):
                stdin.close()  # type: ignore[union-attr]
        except Exception as exc:  # noqa: BLE001 raised by `finish`
            self._error = exc
            _kill(self._process)  # before the end of its input: half a context must not become an image


def _lines(process: subprocess.Popen[bytes], redacted: Callable[[str], str]) -> Iterator[str]:
    """Yield what a process says, line by line, to its end.

    Raises:
        EngineError: It said nothing for too long.
    """
    if process.stdout is None:
        return
    lines = Lines(redacted)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    output = process.stdout.fileno()
    while True:
        ready, _, _ = select.select([output], [], [], SILENCE_LIMIT_SECONDS)
        if not ready:
            raise EngineError(f"The build said nothing for {SILENCE_LIMIT_SECONDS / 60:.0f} minutes.")
        piece = os.read(output, PIECE_BYTES)
        if not piece:
            break
        yield from lines.feed(decoder.decode(piece))
    yield from lines.rest()


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave no process behind; the engine ends a build whose client went away."""
    try:
        yield
    except BaseException:
        _kill(process)
        # What was still to be sent would be an error in place of this one.
        with suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]
        raise


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it has started: BuildKit may be a plugin, which is a process of its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _field(name: str, path: Path) -> str:
    """Return how a secret is named to the command line, which reads it as a line of CSV."""
    source = f"src={path}".replace('"', '""')
    return f'id={name},"{source}"'


def _with_buildkit(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a build by the engine's own BuildKit, where the images are that ours stand upon."""
    kept = {name: value for name, value in environ.items() if name not in ELSEWHERE}
    return {"PATH": os.defpath, **kept, "DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


def _mounts_secrets(program: str, environ: Mapping[str, str]) -> bool:
    """Return whether a command line has BuildKit, and the engine speaks with it.

    From version 23 on it may be installed without; an engine refuses one that is much older than itself.
    """
    told = _said(program, environ, "build", "--help")
    if told is None or b"--secret" not in told:
        return False
    return _said(program, environ, "version", "--format", "{{.Server.Version}}") is not None


def _said(program: str, environ: Mapping[str, str], *words: str) -> bytes | None:
    """Return what a command line says, None where it fails or takes too long."""
    try:
        done = subprocess.run(
            [program, *words],
            env=_with_buildkit(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FIND_LIMIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
