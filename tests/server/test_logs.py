"""The edge's log: valid JSON lines whatever is logged, bounded while nobody reads, and cut from a model's output."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import threading
from typing import IO

from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import wait_until
from truss_server.edge.logs import BACKLOG, LINE, AbortedTransferError, LibraryHandler, Log
from truss_server.edge.output import Lines


def written(stream: io.BytesIO) -> list[dict[str, object]]:
    """Return the records in a stream."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_line_of_json() -> None:
    """Time, level, message and source come first, then what else was given; line ends are escaped."""
    stream = io.BytesIO()
    log = Log(stream, clock=lambda: 1_700_000_000.25)
    log.write("ERROR", "two\nlines", source="worker", request_id="7", exc_info="Traceback")
    log.close()

    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert re.fullmatch(r"2023-11-1[45] \d\d:\d\d:20,250", record.pop("asctime"))
    assert record == {
        "levelname": "ERROR",
        "message": "two\nlines",
        "source": "worker",
        "request_id": "7",
        "exc_info": "Traceback",
    }


def test_a_message_is_cut() -> None:
    """No line is longer than a reader may expect."""
    stream = io.BytesIO()
    log = Log(stream)
    log.write("INFO", "x" * (LINE + 7))
    log.close()

    (record,) = written(stream)
    assert record["message"] == "x" * LINE + "... [7 characters cut]"


def test_half_a_surrogate_pair_does_not_end_the_log() -> None:
    """A text that has no UTF-8 is logged, and what comes after it too."""
    stream = io.BytesIO()
    log = Log(stream)
    log.write("ERROR", "half \ud83d")
    log.write("INFO", "after")
    log.close()

    assert [record["message"] for record in written(stream)] == ["half \ud83d", "after"]


class Gone(io.BytesIO):
    """A stream whose reader has left."""

    def write(self, data: object) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_reader_that_left_stops_nothing() -> None:
    """Without a reader the log is thrown away and whoever logs goes on."""
    log = Log(Gone())
    for _ in range(10):
        log.write("INFO", "x" * LINE)
    log.close()

    assert log._written == log._taken


def stalled_log() -> tuple[Log, IO[bytes], int]:
    """Return a log that writes into a pipe nobody reads, with both ends."""
    read, write = os.pipe()
    stream = os.fdopen(write, "wb", buffering=0)
    return Log(stream), stream, read


def test_what_waits_for_a_reader_is_bounded() -> None:
    """While nobody reads, records over the bound are dropped and counted; who waits for room is not held up."""
    log, stream, read = stalled_log()
    for _ in range(3 * BACKLOG // LINE):
        log.write("INFO", "x" * LINE)
    asyncio.run(asyncio.wait_for(log.keep_up(), 30))
    dropped = log._dropped
    with os.fdopen(read, "rb") as reader:
        lines: list[bytes] = []
        reading = threading.Thread(target=lambda: lines.extend(reader))
        reading.start()
        wait_until(lambda: log._written == log._taken, what="the backlog's end")
        log.write("INFO", "after")
        log.close()
        stream.close()
        reading.join(10)

    assert dropped > BACKLOG // LINE
    assert (
        json.loads(lines[-2])["message"] == f"{dropped} records were dropped: nobody read the log fast enough"
    )
    assert json.loads(lines[-1])["message"] == "after"
    assert len(lines) == 3 * BACKLOG // LINE - dropped + 2


def test_libraries_log_into_the_same_lines() -> None:
    """A library's warning is a record with its traceback; an aborted transfer is ours and is not told twice."""
    stream = io.BytesIO()
    log = Log(stream)
    handler = LibraryHandler(log)
    for message, error in (
        ("beware", None),
        ("never seen", AbortedTransferError()),
        ("failed", ValueError("a bug")),
    ):
        exc_info = (type(error), error, None) if error else None
        record = logging.LogRecord("library", logging.WARNING, "file", 1, message, None, exc_info)
        handler.handle(record)
    log.close()

    first, second = written(stream)
    assert (first["levelname"], first["message"]) == ("WARNING", "beware")
    assert "ValueError: a bug" in str(second["exc_info"])


@given(
    text=st.lists(st.text(st.sampled_from("aß€\U0001f980 \n"), max_size=20)).map("".join),
    places=st.lists(st.integers(0, 500)),
)
def test_lines_survive_any_chunking(text: str, places: list[int]) -> None:
    """Lines come out as they were printed, however their bytes are cut."""
    data = text.encode()
    ends = sorted({place % (len(data) + 1) for place in places})
    lines = Lines()

    out = [
        line for a, b in zip([0, *ends], [*ends, len(data)], strict=True) for line in lines.feed(data[a:b])
    ] + lines.flush()

    expected = text.split("\n")
    assert out == (expected if expected[-1] else expected[:-1])


def test_lines_are_bounded() -> None:
    """An endless line comes in pieces, and none of it is lost."""
    lines = Lines()
    pieces = [piece for _ in range(10) for piece in lines.feed(b"x" * 50_000)] + lines.flush()

    assert sum(map(len, pieces)) == 500_000
    assert max(map(len, pieces)) <= LINE


def test_what_overwrites_itself_is_shown_as_a_terminal_would() -> None:
    """Of a progress bar the last state counts; a carriage return before the line end is none of the text."""
    assert Lines().feed(b"\r 1%\r 50%\r100%\nwindows\r\n") == ["100%", "windows"]
