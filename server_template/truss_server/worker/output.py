"""What the model prints and logs, sent to the edge line by line with the call it belongs to."""

from __future__ import annotations

import io
import logging
import threading
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.worker.context import current_stream

if TYPE_CHECKING:
    from truss_server.worker.channel import Channel

LINE = 16 * 1024
"""Characters of one line; a longer one becomes several."""

_TRACEBACK = 32 * 1024


def send_log(channel: Channel, level: str, message: str, **fields: str) -> None:
    """Send one log record of the current call."""
    payload = wire.pack({"level": level, "message": message, **fields})
    channel.send(wire.encode(wire.LOG, current_stream.get(), payload))


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
        self._begun = threading.local()  # `print` writes a line in parts, on one thread
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
        begun = getattr(self._begun, "text", "") + text
        if "\n" not in text and "\r" not in text and len(begun) <= LINE:
            self._begun.text = begun
            return len(text)
        *lines, rest = begun.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        while len(rest) > LINE:
            lines.append(rest[:LINE])
            rest = rest[LINE:]
        self._begun.text = rest
        for line in lines:
            for at in range(0, max(len(line), 1), LINE):
                if line or at == 0:
                    send_log(self._channel, "INFO", line[at : at + LINE])
        return len(text)

    def flush(self) -> None:
        """Send a line that was begun."""
        rest = getattr(self._begun, "text", "")
        if rest:
            self._begun.text = ""
            send_log(self._channel, "INFO", rest)


class LogHandler(logging.Handler):
    """Sends what the model logs by the standard library's `logging`.

    Args:
        channel: To the edge.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

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
