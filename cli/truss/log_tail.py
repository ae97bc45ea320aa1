"""The end of a log that is being written, followed while something else is waited for."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from truss.errors import TrussError
from truss.log_lines import LOUD, LogRecord, parse_log_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from truss.progress import Progress

LAST_WORDS_SECONDS = 2.0
"""How long to wait for the rest of the log of a server that has ended."""

KEPT_RECORDS = 20
"""Lines of the log that an error shows."""

MOST_PENDING = 10_000
"""Lines that wait to be shown; of a model that prints more than that between two looks, the last ones are."""


class LogTail:
    """The end of a log that is being written, read by a thread because reading waits for the writer.

    Args:
        lines: The log, as `Target.logs` follows it.

    Attributes:
        records: The last ones that were shown.
        warning: The last that the server in front of the model warned of, empty where it did not.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self.records: deque[LogRecord] = deque(maxlen=KEPT_RECORDS)
        self.warning = ""
        self._pending: deque[LogRecord] = deque(maxlen=MOST_PENDING)
        # A daemon: the log of a server that lives has no end to wait for.
        self._thread = threading.Thread(target=self._read, args=(lines,), name="log tail", daemon=True)
        self._thread.start()

    def show(self, progress: Progress) -> None:
        """Tell what has come since the last time."""
        while self._pending:
            record = self._pending.popleft()
            self.records.append(record)
            if record.level in LOUD and record.source != "model":
                self.warning = record.message
            if record.matters:
                progress.detail(record.message)

    def finish(self, progress: Progress) -> None:
        """Tell what is left in the log of a server that has ended."""
        self._thread.join(LAST_WORDS_SECONDS)
        self.show(progress)

    def _read(self, lines: Iterator[str]) -> None:
        # A log that cannot be read is no reason to fail: whether the server is ready shows elsewhere.
        with suppress(TrussError):
            for line in lines:
                self._pending.append(parse_log_line(line))
