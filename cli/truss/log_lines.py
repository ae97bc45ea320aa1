"""Lines of a server's log: JSON as it writes it, text as people read it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

LOUD = {"WARNING", "ERROR", "CRITICAL"}


@dataclass(frozen=True)
class LogRecord:
    """One line of a log.

    Attributes:
        time: Of day, `HH:MM:SS`.
        level: DEBUG, INFO, WARNING, ERROR.
        message: What happened.
        source: `edge`, `worker`, or `model` for what the model printed or logged.
        trace: Traceback of the author's code, may be empty.
    """

    time: str
    level: str
    message: str
    source: str
    trace: str = ""

    @property
    def matters(self) -> bool:
        """Whether somebody who waits for the model should see it."""
        return self.source == "model" or self.level in LOUD


def parse_log_line(line: str) -> LogRecord:
    """Read a line; one that the server did not write is taken for the model's."""
    try:
        fields = json.loads(line)
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or not isinstance(fields.get("message"), str):
        return LogRecord("", "", line, "model")
    found = re.search(r"\d\d:\d\d:\d\d", str(fields.get("asctime", "")))
    return LogRecord(
        time=found[0] if found else "--:--:--",
        level=str(fields.get("levelname", "INFO")),
        message=fields["message"],
        source=str(fields.get("source", "edge")),
        trace=str(fields.get("exc_info") or "").rstrip(),
    )


def format_record(record: LogRecord) -> str:
    """Return a record for people: what the model says as it said it, all else with time and level."""
    head = record.message if record.source == "model" else f"{record.time} {record.level} {record.message}"
    return f"{head}\n{record.trace}" if record.trace else head
