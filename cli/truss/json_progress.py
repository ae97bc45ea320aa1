"""A workflow's steps as events, one JSON object a line, for programs."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from truss.progress import named
from truss.wording import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from truss.build_report import BuiltImage


class JsonProgress:
    """Steps as events, one JSON object a line, for programs.

    Args:
        write: Takes text.
        clock: Gives seconds.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Tell of a step's begin and end."""
        self._tell({"event": "step", "step": name, "state": "running"})
        begin, state = self._clock(), "failed"
        try:
            with named(name):
                yield
            state = "done"
        finally:
            seconds = round(self._clock() - begin, 3)
            self._tell({"event": "step", "step": name, "state": state, "seconds": seconds})

    def detail(self, line: str) -> None:
        """Tell what happens in the current step."""
        self._tell({"event": "line", "text": clean(line)})

    def note(self, line: str) -> None:
        """Tell what is worth keeping."""
        self._tell({"event": "note", "text": clean(line)})

    def built(self, images: Sequence[BuiltImage]) -> None:
        """Tell what became of each image."""
        for image in images:
            self._tell(image.event())

    def _tell(self, event: dict[str, object]) -> None:
        self._write(json.dumps(event, ensure_ascii=False) + "\n")
