"""A session with a deployment: what it runs, and versions that it is asked to run."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from truss.channel import wait_readable
from truss.context import Member, tar_files
from truss.control_messages import (
    PROTOCOL,
    ChannelClosedError,
    Messages,
    change_fields,
    check_path,
    parse_event,
    parse_hello,
)
from truss.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from truss.channel import Channel
    from truss.control_messages import Change, Event, Hello
    from truss.release import PackageFile

HELLO_SECONDS = 15.0
"""How long a deployment may take to say what it runs."""

IN_MEMORY = 32 << 20
"""Bytes of a patch; a larger one is written to a temporary file first."""

SEND_CHUNK = 1 << 18


class Session:
    """A conversation with a deployment: one at a time, and it ends with the connection.

    Args:
        channel: To it.
        hello: What it said first.
        messages: Takes apart what it says.
    """

    def __init__(self, channel: Channel, hello: Hello, messages: Messages) -> None:
        self._channel = channel
        self._messages = messages
        self.hello = hello

    @classmethod
    def begin(cls, channel: Channel, who: str, *, seconds: float = HELLO_SECONDS) -> Session:
        """Return the session on a channel, which is closed where there is none.

        Args:
            channel: To the deployment.
            who: Is told to the next one who wants to watch.
            seconds: How long the deployment may take to answer.

        Raises:
            BusyError: Somebody else watches.
            EngineError: It does not answer, or speaks otherwise.
        """
        messages = Messages()
        try:
            _send(channel, {"do": "watch", "protocol": PROTOCOL, "who": who})
            first, *_ = _await_first(channel, messages, time.monotonic() + seconds)
            return cls(channel, parse_hello(first), messages)
        except BaseException:
            channel.close()
            raise

    def fileno(self) -> int:
        """Return what becomes readable when something has come."""
        return self._channel.fileno()

    def close(self) -> None:
        """End the session."""
        self._channel.close()

    def apply(self, change: Change) -> None:
        """Ask for a version; the answer is an event.

        Raises:
            FileChangedError: A file is not any more what was planned; nothing was asked.
            ChannelClosedError: The deployment is gone.
        """
        for path in (*change.delete, *(str(file.path) for file in change.files)):
            check_path(path)
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as tar:
            size = _write_tar(tar, change.files)
            _send(self._channel, {**change_fields(change), "bytes": size}, tar)

    def reload(self) -> None:
        """Ask for the current version to be loaded again; the answer is an event."""
        _send(self._channel, {"do": "reload"})

    def cancel(self) -> None:
        """Ask for what is being loaded to be given up; what was asked for before is answered nevertheless."""
        _send(self._channel, {"do": "cancel"})

    def receive(self) -> list[Event]:
        """Wait until something has come and return the events in it.

        Raises:
            ChannelClosedError: The deployment is gone.
            EngineError: It speaks otherwise.
        """
        return [
            event
            for fields in self._messages.feed(_receive(self._channel))
            if (event := parse_event(fields)) is not None
        ]


def _write_tar(tar: IO[bytes], files: Iterable[PackageFile]) -> int:
    """Write files, each checked against its hash, and return how many bytes that made."""
    for chunk in tar_files([Member(file.path, file, file.executable) for file in files]):
        tar.write(chunk)
    size = tar.tell()
    tar.seek(0)
    return size


@contextmanager
def _closing_errors(channel: Channel) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ChannelClosedError(
            "The deployment went away.", details=channel.complaint or str(exc), hint="`truss list` shows it."
        ) from exc


def _send(channel: Channel, fields: Mapping[str, Any], payload: IO[bytes] | None = None) -> None:
    with _closing_errors(channel):
        channel.send(json.dumps(fields, ensure_ascii=False).encode() + b"\n")
        while payload and (chunk := payload.read(SEND_CHUNK)):
            channel.send(chunk)


def _receive(channel: Channel) -> bytes:
    with _closing_errors(channel):
        data = channel.receive()
    if data is None:
        raise ChannelClosedError(
            "The deployment went away.", details=channel.complaint, hint="`truss list` shows it."
        )
    return data


def _await_first(channel: Channel, messages: Messages, deadline: float) -> list[dict[str, Any]]:
    while True:
        if not wait_readable(channel, deadline - time.monotonic()):
            raise EngineError("The deployment does not say what it runs.", hint="Push it again.")
        if found := messages.feed(_receive(channel)):
            return found
