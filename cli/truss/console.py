"""All writing to the user: data to stdout, talk to stderr. Rich is imported here alone, on terminals only."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from truss.build_report import format_waterfall
from truss.errors import TrussError
from truss.progress import named
from truss.wording import clean, format_error, format_error_json, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import rich.text
    from typing_extensions import Self

    from truss.build_report import BuiltImage
    from truss.progress import Progress

LIVE_LINES = 5
"""Lines of what happens in the current step that a terminal shows at a time."""

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

MOST_STREAMED = 1000
"""Lines that are remembered, so that an error does not say them again."""

LIVE_HERTZ = 10
"""How often a terminal is redrawn; a spinner looks alive from eight on."""


class Console:
    """The two streams of a process and what is known of their readers.

    Args:
        stdout: For data.
        stderr: For talk.
        environ: `NO_COLOR` and `TERM` are honoured.
    """

    def __init__(self, stdout: TextIO, stderr: TextIO, environ: Mapping[str, str]) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._environ = environ

    @classmethod
    def of_process(cls) -> Self:
        """Return the console of this process."""
        return cls(sys.stdout, sys.stderr, os.environ)

    @property
    def data_on_terminal(self) -> bool:
        """Whether a person reads stdout as it comes."""
        return self._stdout.isatty()

    def print_data(self, text: str) -> None:
        """Write text to stdout at once; what its encoding lacks becomes an escape."""
        encoding = self._stdout.encoding or "utf-8"
        self.print_bytes(text.encode(encoding, "backslashreplace"))

    def print_bytes(self, data: bytes) -> None:
        """Write bytes to stdout at once."""
        self._stdout.flush()
        self._stdout.buffer.write(data)
        self._stdout.buffer.flush()

    def print_note(self, line: str) -> None:
        """Write a line of talk to stderr."""
        encoding = self._stderr.encoding or "utf-8"
        self._stderr.write(f"{line}\n".encode(encoding, "backslashreplace").decode(encoding))
        self._stderr.flush()

    def print_error(self, error: TrussError, *, as_json: bool = False) -> None:
        """Write an error: to stderr for people, to stdout where JSON was asked for."""
        if as_json:
            self.print_data(format_error_json(error))
        else:
            self.print_note(format_error(error).removesuffix("\n"))

    @contextmanager
    def progress(self, *, as_json: bool = False) -> Iterator[Progress]:
        """Show a workflow's steps on stderr, live where that is a terminal; or as JSON on stdout."""
        if as_json:
            from truss.json_progress import JsonProgress

            yield JsonProgress(self.print_data)
        elif self._stderr.isatty() and self._environ.get("TERM") != "dumb":
            with LiveProgress(self._stderr, no_color=bool(self._environ.get("NO_COLOR"))) as live:
                yield live
        else:
            yield PlainProgress(self.print_note)


class PlainProgress:
    """Steps as lines, for logs and pipes.

    Args:
        write: Takes one line.
        clock: Gives seconds.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._streamed: deque[str] = deque(maxlen=MOST_STREAMED)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Enter a named step."""
        self._streamed.clear()
        self._write(f"{name} ...")
        begin = self._clock()
        end = "interrupted after"
        try:
            with named(name):
                yield
            end = "done in"
        except Exception as error:
            end = "failed after"
            if isinstance(error, TrussError):
                shown = {clean(line).strip() for line in error.details.splitlines()} - {""}
                error.streamed = error.streamed or (bool(shown) and shown <= set(self._streamed))
            raise
        finally:
            self._write(f"{name} {end} {format_seconds(self._clock() - begin)}")

    def detail(self, line: str) -> None:
        """Write a line of what happens in the current step."""
        if text := clean(line).rstrip():
            self._write(f"  {text}")
            self._streamed.append(text.strip())

    def note(self, line: str) -> None:
        """Write a line to keep."""
        self._write(clean(line))

    def built(self, images: Sequence[BuiltImage]) -> None:
        """Write where the time and the size went."""
        for line in format_waterfall(images):
            self.note(f"  {line}")


@dataclass
class _Step:
    """A step as a terminal shows it."""

    name: str
    begin: float
    state: str = "running"
    seconds: float = 0.0


class LiveProgress:
    """Steps as a list that is redrawn in place, for terminals.

    Args:
        stderr: The terminal.
        no_color: Whether colours are unwanted.
    """

    def __init__(self, stderr: TextIO, *, no_color: bool) -> None:
        from rich.console import Console as RichConsole
        from rich.live import Live

        self._steps: list[_Step] = []
        self._details: deque[str] = deque(maxlen=LIVE_LINES)
        self._console = RichConsole(
            file=stderr, no_color=no_color, highlight=False, markup=False, emoji=False
        )
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=LIVE_HERTZ,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Draw the list a last time and give the cursor back."""
        self._live.stop()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Enter a named step."""
        step = _Step(name, time.monotonic())
        self._steps.append(step)
        state = "interrupted"
        try:
            with named(name):
                yield
            state = "done"
        except Exception:
            state = "failed"
            raise
        finally:
            step.seconds = time.monotonic() - step.begin
            step.state = state
            self._details.clear()
            self._live.refresh()

    def detail(self, line: str) -> None:
        """Show a line of what happens in the current step, for as long as there is room."""
        if text := clean(line).rstrip():
            self._details.append(text)

    def note(self, line: str) -> None:
        """Write a line above the list, where it stays."""
        self._console.print(clean(line), soft_wrap=True)

    def built(self, images: Sequence[BuiltImage]) -> None:
        """Write where the time and the size went, above the list."""
        for line in format_waterfall(images):
            self.note(f"  {line}")

    def _render(self) -> rich.text.Text:
        """Return the list as it is now."""
        from rich.text import Text

        text = Text(no_wrap=True, overflow="ellipsis")
        width = max((len(step.name) for step in self._steps), default=0)
        for step in self._steps:
            text.append_text(self._format_step(step, width))
        for line in list(self._details):
            text.append(f"    {line}\n", style="dim")
        text.right_crop(1)
        return text

    def _format_step(self, step: _Step, width: int) -> rich.text.Text:
        """Return the line of one step."""
        from rich.text import Text

        frames, done, failed = (
            ("-\\|/", "+", "x") if self._console.options.ascii_only else (SPINNER, "✓", "✗")
        )
        now = time.monotonic()
        marks = {
            "running": (frames[int(now * LIVE_HERTZ) % len(frames)], "cyan"),
            "done": (done, "green"),
        }
        mark, colour = marks.get(step.state, (failed, "red"))
        seconds = now - step.begin if step.state == "running" else step.seconds
        line = Text()
        line.append(f"{mark} ", style=colour)
        line.append(f"{step.name:<{width}}  ")
        line.append(format_seconds(seconds), style="dim")
        ending = f" ({step.state})" if step.state in {"failed", "interrupted"} else ""
        line.append(f"{ending}\n")
        return line
