"""A real worker without an edge: the test speaks the wire itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import truss_server
from truss_server import wire

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

PACKAGE = Path(truss_server.__file__).parent


@dataclass
class Answer:
    """What came on one stream."""

    head: Any = None
    data: bytes = b""
    error: Any = None
    ended: bool = False

    @property
    def value(self) -> Any:
        """The answer's value, where it is one."""
        return wire.unpack(self.data)


class RawWorker:
    """A worker process and the edge's end of its socket.

    Args:
        python: Its interpreter.
        root: Folder of its release.
        package: The `truss_server` it is started from.
        environ: More environment variables.
        swaps: Whether it is one of a deployment in development.

    Attributes:
        state: Payload of its STATE.
        hello: Payload of its HELLO.
    """

    def __init__(
        self,
        python: str,
        root: Path,
        *,
        package: Path = PACKAGE,
        environ: Mapping[str, str] | None = None,
        swaps: bool = False,
    ) -> None:
        self._sock, theirs = socket.socketpair()
        self._sock.settimeout(30)
        with theirs:
            arguments = [
                "--fd",
                str(theirs.fileno()),
                "--release",
                str(root),
                "--environment",
                "test",
                "--generation",
                "1",
                *(["--swaps"] if swaps else []),
            ]
            self.process = subprocess.Popen(
                [python, "-u", str(package / "worker" / "boot.py"), *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environ or {})},
                start_new_session=True,
            )
        self._decoder = wire.Decoder()
        self._frames: list[wire.Frame] = []
        self._streams = 0
        self._answers: dict[int, Answer] = defaultdict(Answer)
        self._granted: dict[int, int] = defaultdict(lambda: wire.WINDOW)
        self._sent: dict[int, int] = defaultdict(int)
        self.hello = wire.unpack(self.next_frame()[2])
        self.state = wire.unpack(self.next_frame()[2])

    def next_frame(self) -> wire.Frame:
        """Return the next frame.

        Raises:
            AssertionError: The worker closed the connection.
        """
        while not self._frames:
            chunk = self._sock.recv(65536)
            assert chunk, f"the worker ended:\n{self.output()}"
            self._frames += self._decoder.feed(chunk)
        return self._frames.pop(0)

    def send(self, frames: bytes) -> None:
        """Send frames as they are."""
        self._sock.sendall(frames)

    def open(self, method: str, inputs: Any = None, *, framing: str = "lines", then: int = 0) -> int:
        """Begin a call that takes inputs, in a single write, and return its stream.

        Args:
            method: To call.
            inputs: Small ones.
            framing: Of a stream of objects.
            then: Kind of an empty frame to send on top, CANCEL.
        """
        self._streams += 1
        head = wire.pack((method, framing, None, 1))
        frames = [wire.encode(wire.CALL, self._streams, head)]
        frames += map(b"".join, wire.pieces(wire.INPUT, self._streams, wire.pack(inputs)))
        if then:
            frames.append(wire.encode(then, self._streams))
        self.send(b"".join(frames))
        return self._streams

    def upload(self, method: str, kinds: Sequence[int], size: int) -> int:
        """Begin a call and send `size` bytes of text as its inputs or body, waiting for credit where need be."""
        self._streams += 1
        stream = self._streams
        headers: list[tuple[bytes, bytes]] = []
        request = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
        head = (method, "lines", request, 1)
        self.send(wire.encode(wire.CALL, stream, wire.pack(head)))
        for kind in kinds:
            message = wire.pack("x" * size) if kind == wire.INPUT else b"x" * size
            for frame in map(b"".join, wire.pieces(kind, stream, message)):
                payload = len(frame) - 9
                while self._granted[stream] - self._sent[stream] < payload:
                    self._take(self.next_frame())
                self._sent[stream] += payload
                self.send(frame)
        return stream

    def cancel(self, stream: int) -> None:
        """Tell that the client left."""
        self.send(wire.encode(wire.CANCEL, stream))

    def grant(self, stream: int, size: int) -> None:
        """Give credit."""
        self.send(wire.encode_credit(stream, size))

    def finish(self, stream: int, *, credit: bool = True) -> Answer:
        """Take frames until a call has ended, giving credit for what comes, and return its answer."""
        answer = self._answers[stream]
        while not answer.ended:
            frame = self.next_frame()
            self._take(frame)
            if credit and frame[0] == wire.DATA and frame[2]:
                self.grant(frame[1], len(frame[2]))
        return answer

    def until_silent(self, stream: int, seconds: float = 0.3) -> int:
        """Take frames, giving no credit, until none comes for a while; return how much of an answer has come."""
        self._sock.settimeout(seconds)
        try:
            while True:
                self._take(self.next_frame())
        except TimeoutError:
            return len(self._answers[stream].data)
        finally:
            self._sock.settimeout(30)

    def call(self, method: str, inputs: Any = None, **options: Any) -> Answer:
        """Call and return the whole answer."""
        return self.finish(self.open(method, inputs, **options))

    def _take(self, frame: wire.Frame) -> None:
        kind, stream, payload = frame
        if kind == wire.LOG:  # also after the end: the beginning of a line is sent when nobody has ended it
            return
        answer = self._answers[stream]
        assert not answer.ended, f"a frame of kind {kind} after the end"
        if kind == wire.CREDIT:
            self._granted[stream] += wire.decode_credit(payload)
        elif kind == wire.HEAD:
            assert answer.head is None
            answer.head = wire.unpack(payload)
        elif kind & ~wire.LAST == wire.DATA:
            answer.data += payload
            answer.ended = bool(kind & wire.LAST)
        else:
            assert kind == wire.ERROR
            answer.error = wire.unpack(payload)
            answer.ended = True

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        self.send(wire.encode(wire.STOP, 0))
        return self.process.wait(20)

    def last_words(self) -> list[str]:
        """Take frames until the worker has closed the connection; return the lines it printed."""
        while chunk := self._sock.recv(65536):
            self._frames += self._decoder.feed(chunk)
        frames, self._frames = self._frames, []
        return [wire.unpack(payload)["message"] for kind, _, payload in frames if kind == wire.LOG]

    def output(self) -> str:
        """Return what it wrote to its descriptors, once it has ended."""
        return self.process.communicate(timeout=20)[0].decode("utf-8", "replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it in any case."""
        self._sock.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()
