"""Large JSON bodies that the worker cannot read are parsed by a process of their own.

msgspec holds the interpreter, and with it all streams, meanwhile.
"""

from __future__ import annotations

import asyncio
import sys

from truss_server.edge.bodies import parse_body
from truss_server.edge.errors import AnswerError

LARGE = 4 * 1024 * 1024
"""Bytes that are parsed in some 50 ms, as long as a process takes to start."""

_INVALID = 65


async def parse_large(body: bytes, turn: asyncio.Semaphore) -> bytes:
    """Return the inputs in a request body, marshalled.

    Args:
        body: JSON.
        turn: How many may be parsed at once.

    Raises:
        AnswerError: 400, it is no JSON; 500, the process did not get through with it.
    """
    async with turn:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "truss_server.edge.large",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            out, _ = await process.communicate(body)
        finally:
            if process.returncode is None:
                process.kill()
    if process.returncode == _INVALID:
        raise AnswerError(400, out.decode())
    if process.returncode != 0:
        raise AnswerError(500, "the request body could not be parsed: out of memory?")
    return out


def main() -> int:
    """Parse standard input; return the exit code."""
    try:
        out = parse_body(sys.stdin.buffer.read(), binary=False)
    except AnswerError as exc:
        sys.stdout.buffer.write(str(exc).encode())
        return _INVALID
    sys.stdout.buffer.write(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
