"""What the model prints, as lines of the log."""

from __future__ import annotations

import asyncio
import codecs
from typing import TYPE_CHECKING

from truss_server.edge.logs import LINE

if TYPE_CHECKING:
    from truss_server.edge.logs import Log

PATIENCE = 1.0
"""Seconds after which the beginning of a line is logged without its end: a progress bar, a prompt."""


class Lines:
    """Lines out of bytes, however they are cut; none is longer than LINE, none waits in memory beyond it."""

    def __init__(self) -> None:
        self.rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, chunk: bytes) -> list[str]:
        """Take the next bytes, return the lines they complete."""
        *lines, self.rest = (self.rest + self._decoder.decode(chunk)).split("\n")
        if len(self.rest) > LINE:
            lines.append(self.rest)
            self.rest = ""
        return [piece for line in lines for piece in _pieces(line)]

    def flush(self) -> list[str]:
        """Return the line that was begun, if one was."""
        rest, self.rest = self.rest, ""
        return _pieces(rest) if rest else []


def _pieces(line: str) -> list[str]:
    """Cut a line to size; of what overwrote itself (a progress bar), keep what a terminal would show."""
    shown = line.rstrip("\r").rpartition("\r")[2]
    return [shown[at : at + LINE] for at in range(0, max(len(shown), 1), LINE)]


async def copy_output(stream: asyncio.StreamReader | None, log: Log) -> None:
    """Log all that comes from the model's standard output and error until their end."""
    if stream is None:  # cannot be: it was asked for
        return
    lines = Lines()
    loop = asyncio.get_running_loop()
    reading = loop.create_task(stream.read(LINE))
    begun = loop.time()
    try:
        while True:
            timeout = max(0.0, begun + PATIENCE - loop.time()) if lines.rest else None
            await asyncio.wait({reading}, timeout=timeout)
            if not reading.done():
                _log(log, lines.flush())
                continue
            chunk = reading.result()
            if not chunk:
                return
            had = lines.rest
            complete = lines.feed(chunk)
            _log(log, complete)
            await log.keep_up()
            if complete or not had:
                begun = loop.time()  # after the wait: what was not read meanwhile is not late
            reading = loop.create_task(stream.read(LINE))
    finally:
        reading.cancel()
        _log(log, lines.flush())


def _log(log: Log, lines: list[str]) -> None:
    for line in lines:
        log.write("INFO", line, source="model")
