"""The worker process: connect, load the model, serve calls until the edge says stop or goes away."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import logging
import os
import platform
import signal
import socket
import sys
import traceback
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn

from truss_server import wire
from truss_server.protocol import MANIFEST, Manifest
from truss_server.worker import json_library
from truss_server.worker.calls import Call
from truss_server.worker.channel import Channel
from truss_server.worker.execute import Executor
from truss_server.worker.failures import describe
from truss_server.worker.incoming import Incoming
from truss_server.worker.model import Model
from truss_server.worker.output import LogHandler, Output
from truss_server.worker.swaps import Swaps
from truss_server.worker.threads import Threads, end_child


class Server:
    """Turns frames into calls. `handle` runs on the thread that reads the socket, whichever that is.

    Args:
        channel: To the edge.
        loop: Event loop of the model.
        roots: Folders of what is loaded, for tracebacks.

    Attributes:
        swaps: What can be called, once the model is loaded.
        loads: What a spare worker is told to load.
    """

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop, roots: list[Path]) -> None:
        self.swaps = Swaps(channel, roots)
        self.loads: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._channel = channel
        self._loop = loop
        self._threads = Threads(channel, self.handle, _lost)
        self._executor = Executor(loop, roots, self._threads)
        self._incoming: dict[int, Incoming] = {}

    def start(self) -> None:
        """Begin to take frames."""
        self._threads.start()

    def handle(self, frame: wire.Frame) -> None:
        """Take one frame from the edge.

        Raises:
            WireError: The edge broke the protocol.
        """
        kind, stream, payload = frame
        if kind == wire.CALL:
            call = Call(self._channel, stream, wire.unpack(payload), self._forget)
            method = self.swaps.method(call.generation, call.method)
            incoming = Incoming(call, method, self._channel, self._loop, self._executor.submit)
            self._incoming[stream] = incoming
            incoming.begin()
        elif kind == wire.LOAD:
            self.loads.put(wire.unpack(payload))
        elif kind == wire.SWAP:
            self.swaps.swap(wire.unpack(payload))
        elif kind == wire.DROP:
            self.swaps.drop(wire.unpack(payload))
        elif kind == wire.STOP:
            self._loop.call_soon_threadsafe(self._loop.stop)
        else:
            known = self._incoming.get(stream)
            if known is not None:  # else the call has ended here, and this frame crossed its end
                known.handle(kind, payload)

    def _forget(self, stream: int) -> None:
        self._incoming.pop(stream, None)


def main() -> NoReturn:
    """Run a worker, which `boot.py` has started with these arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True, help="connected Unix socket")
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--environment", required=True)
    parser.add_argument("--generation", type=int, required=True, help="number of what is loaded")
    parser.add_argument("--libraries", type=Path, help="folder of the server's packages")
    parser.add_argument("--swaps", action="store_true", help="be ready to take new code later")
    parser.add_argument("--spare", action="store_true", help="wait to be told what else to load")
    args = parser.parse_args()
    faulthandler.enable()  # a segmentation fault shows in the log where in the model it happened
    _leave_the_end_to_the_edge()
    sock = socket.socket(fileno=args.fd)
    sock.set_inheritable(False)  # what the model starts must not keep the connection open
    os._exit(run(sock, args))  # the model's threads may never end by themselves


def _leave_the_end_to_the_edge() -> None:
    """Do nothing on SIGINT and SIGTERM, in this process only: what the model starts must be easy to end."""

    def ignore(*_: object) -> None:  # and not SIG_IGN, which a program that is started would inherit
        pass

    def restore() -> None:
        for number, handler in before.items():
            if signal.getsignal(number) is ignore:
                signal.signal(number, handler)
        allow()

    def allow() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, before)

    def block() -> (
        None
    ):  # a signal for the child that is just being forked waits until its handlers are right
        signal.pthread_sigmask(signal.SIG_BLOCK, before)

    before = {number: signal.signal(number, ignore) for number in (signal.SIGINT, signal.SIGTERM)}
    os.register_at_fork(before=block, after_in_parent=allow, after_in_child=restore)


def run(sock: socket.socket, args: argparse.Namespace) -> int:
    """Load the model of a release and serve it over a socket; return the exit code.

    The socket is read on other threads from the start: an edge that goes away ends this process also
    while `load()` runs or the model holds the main thread.
    """
    channel = Channel(sock)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    os.register_at_fork(after_in_child=lambda: loop.call_soon(end_child))
    roots: list[Path] = []
    server = Server(channel, loop, roots)
    channel.send(
        wire.encode(
            wire.HELLO,
            0,
            wire.pack(
                {
                    "protocol": wire.PROTOCOL,
                    "python": platform.python_version(),
                    "pid": os.getpid(),
                    "json": args.libraries is not None and json_library.borrow(args.libraries),
                }
            ),
        )
    )
    server.start()
    capture_output(channel)
    told = server.loads.get() if args.spare else {"root": args.release, "generation": args.generation}
    if args.spare:
        channel.send(wire.encode(wire.STATE, 0, wire.pack({"state": "loading"})))
    root = Path(told["root"]).resolve()
    roots.append(root)
    os.chdir(root)
    try:
        try:
            manifest = Manifest.from_json((root / MANIFEST).read_text(encoding="utf-8"))
            if manifest.config["runtime"]["enable_debug_logs"]:
                logging.getLogger().setLevel(logging.DEBUG)
            model = Model(root, manifest, args.environment, loop)
            model.load(swaps=args.swaps)
        except BaseException as exc:  # noqa: BLE001 - a model may raise anything, SystemExit included
            sys.stdout.flush()
            sys.stderr.flush()
            channel.send(wire.encode(wire.STATE, 0, wire.pack({"state": "failed", **describe(exc, roots)})))
            return 1
        gc.freeze()  # what load() made stays; no collection needs to look at it again
        server.swaps.add(told["generation"], model)
        loop.run_forever()
        _unload(server.swaps)
    except BaseException:  # noqa: BLE001 - SystemExit of a background task of the model, for one
        traceback.print_exc()
        return 1
    else:
        return 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        channel.close()


def _unload(swaps: Swaps) -> None:
    try:
        if swaps.newest is not None:
            swaps.newest.unload()
    except BaseException:
        logging.getLogger("truss").exception("unload() failed")


def capture_output(channel: Channel) -> None:
    """Send what the model prints and logs to the edge, with the call it belongs to."""
    sys.stdout = Output(channel, 1, "<stdout>")
    sys.stderr = Output(channel, 2, "<stderr>")
    logging.basicConfig(handlers=[LogHandler(channel)], level=logging.INFO, force=True)


def _lost() -> None:
    """End with the edge: nobody needs this process any more."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with this process ends what the model started
    os._exit(1)
