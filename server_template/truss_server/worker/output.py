"""What the model prints and logs, sent to the edge line by line with the call it belongs to."""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.worker.context import current_stream

if TYPE_CHECKING:
    from truss_server.worker.channel import Channel

LINE = 64 * 1024
"""Characters of one line; a longer one becomes several."""

PATIENCE = 1.0
"""Seconds after which the beginning of a line is sent without its end: a progress bar, a prompt."""

_TRACEBACK = 32 * 1024


def send_log(channel: Channel, level: str, message: str, **fields: str) -> None:
    """Send one log record of the current call."""
    _send(channel, current_stream.get(), {"level": level, "message": message, **fields})


def _send(channel: Channel, stream: int, record: dict[str, str]) -> None:
    if channel.forked:  # the edge reads it from the pipe
        lines = [record[name] for name in ("message", "exc_info") if name in record]
        os.write(1, ("\n".join(lines) + "\n").encode("utf-8", "replace"))
    else:
        channel.send(wire.encode(wire.LOG, stream, wire.pack(record)))
        channel.keep_up()


class Output(io.TextIOBase):
    """Stands for `sys.stdout` or `sys.stderr`: whole lines go to the edge, at once.

    What is written to the descriptor itself, by C code or a child process, takes another way: the edge reads that
    from a pipe.

    Args:
        channel: To the edge.
        descriptor: 1 or 2.
        name: As `sys.stdout.name`.
    """

    def __init__(self, channel: Channel, descriptor: int, name: str) -> None:
        super().__init__()
        self._channel = channel
        self._descriptor = descriptor
        # Lines that were begun, by thread and call: `print` writes a line in parts. Single operations only, no lock.
        self._begun: dict[tuple[int, int], str] = {}
        self._looked_after = False
        self._looks: SimpleQueue[None] = SimpleQueue()
        threading.Thread(target=self._flush_begun, name="truss-output", daemon=True).start()
        self.name = name
        self.mode = "w"

    encoding = "utf-8"

    @property
    def buffer(self) -> Any:
        """Return the binary stream of the descriptor; what is written there takes the other way."""
        return io.FileIO(self._descriptor, "w", closefd=False)

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return False: nobody looks at it as it comes."""
        return False

    def write(self, text: str) -> int:
        """Take text; send the lines it completes. A carriage return ends a line as well: progress bars use it."""
        key = threading.get_ident(), current_stream.get()
        begun = self._begun.pop(key, "") + text
        if "\n" not in text and "\r" not in text and len(begun) <= LINE:
            self._begin(key, begun)
            return len(text)
        *lines, rest = begun.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        while len(rest) > LINE:
            lines.append(rest[:LINE])
            rest = rest[LINE:]
        for line in lines:
            for at in range(0, max(len(line), 1), LINE):
                send_log(self._channel, "INFO", line[at : at + LINE])
        if rest:
            self._begin(key, rest)
        return len(text)

    def flush(self) -> None:
        """Send the line that the caller has begun."""
        self._send_begun(threading.get_ident(), current_stream.get())

    def _begin(self, key: tuple[int, int], text: str) -> None:
        self._begun[key] = text
        if not self._looked_after:
            self._looked_after = True
            self._looks.put(
                None
            )  # takes no lock, as all of this: a finalizer may print while this thread prints

    def _send_begun(self, thread: int, stream: int) -> None:
        text = self._begun.pop((thread, stream), "")
        if text:
            _send(self._channel, stream, {"level": "INFO", "message": text})

    def _flush_begun(self) -> None:
        """Send beginnings that nobody goes on with."""
        while True:
            self._looks.get()
            before = dict(self._begun)
            time.sleep(PATIENCE)
            self._looked_after = False
            for (thread, stream), text in before.items():
                if self._begun.get((thread, stream)) is text:
                    self._send_begun(thread, stream)
            if self._begun:
                self._looked_after = True
                self._looks.put(None)


class LogHandler(logging.Handler):
    """Sends what the model logs by the standard library's `logging`.

    Args:
        channel: To the edge.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """Have no lock: none is needed, and a call that is interrupted between two instructions would keep it."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> Any:
        """Send a record that passes the filters, without the lock."""
        kept: Any = self.filter(record)  # the record itself, from Python 3.12 on
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return kept

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        try:
            message = record.getMessage()
            fields = {"logger": record.name}
            if record.exc_info:
                fields["exc_info"] = logging.Formatter().formatException(record.exc_info)[-_TRACEBACK:]
            send_log(self._channel, record.levelname, message[:LINE], **fields)
        except Exception:  # noqa: BLE001 - as every handler of `logging`: reported, never raised into the model
            self.handleError(record)
