"""What becomes of the lines of a server's log."""

from __future__ import annotations

import json

import pytest

from tests.fake_target import log_line
from truss.log_lines import LogRecord, format_record, parse_log_line


def test_parse() -> None:
    """The fields of a line the server wrote."""
    line = log_line("it broke", "ERROR", "worker", exc_info="Traceback\n")

    assert parse_log_line(line) == LogRecord("03:04:05", "ERROR", "it broke", "worker", "Traceback")


@pytest.mark.parametrize("line", ["", "Killed", "[1, 2]", "null", '{"message": 5}', '{"level": "x"}', "{"])
def test_lines_the_server_did_not_write(line: str) -> None:
    """Whatever else appears in a log is shown as it is."""
    record = parse_log_line(line)

    assert record == LogRecord("", "", line, "model")
    assert record.matters
    assert format_record(record) == line


def test_line_that_lacks_fields() -> None:
    """A line of another version of the server is still readable."""
    assert format_record(parse_log_line(json.dumps({"message": "x"}))) == "--:--:-- INFO x"


@pytest.mark.parametrize(
    ("level", "source", "matters"),
    [
        ("INFO", "model", True),
        ("DEBUG", "model", True),
        ("INFO", "edge", False),
        ("WARNING", "edge", True),
        ("ERROR", "worker", True),
    ],
)
def test_what_matters(level: str, source: str, matters: bool) -> None:
    """Who waits sees all of the model's lines, and of the server's those that are loud."""
    assert parse_log_line(log_line("x", level, source)).matters is matters
