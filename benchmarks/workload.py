"""The work that every server under test does, so that only the serving differs.

Copied as `model/model.py` into the releases of our server, imported by the bare application: standard library only.
"""

from __future__ import annotations

import asyncio
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ENDED = struct.Struct("<d")
"""What a stream writes into its `probe` file when its generator has ended: the monotonic clock."""


def chunk(number: int) -> str:
    """Return one chunk of a stream."""
    return f"token {number} "


def _note_end(probe: str | None) -> None:
    if probe is not None:
        # Under another name first: who polls for the file never reads half of it.
        Path(f"{probe}.new").write_bytes(ENDED.pack(time.monotonic()))
        Path(f"{probe}.new").replace(probe)


class Echo:
    """W1: a small JSON object in and out."""

    def predict(self, inputs: dict[str, str]) -> dict[str, str]:
        """Return the prompt."""
        return {"output": inputs["prompt"]}


class Numbers:
    """W2: a long list of numbers in and out."""

    def predict(self, inputs: list[float]) -> dict[str, Any]:
        """Return the numbers and their sum."""
        return {"sum": sum(inputs), "values": inputs}


class Sync:
    """A synchronous generator: `n` chunks, `pause` seconds apart."""

    def predict(self, inputs: dict[str, Any]) -> Iterator[str]:
        """Yield the chunks."""
        pause = inputs["pause"]
        try:
            for number in range(inputs["n"]):
                if pause and number:
                    time.sleep(pause)
                yield chunk(number)
        finally:
            _note_end(inputs["probe"])


class Async:
    """An asynchronous generator: `n` chunks, `pause` seconds apart."""

    async def predict(self, inputs: dict[str, Any]) -> AsyncIterator[str]:
        """Yield the chunks."""
        pause = inputs["pause"]
        try:
            for number in range(inputs["n"]):
                if pause and number:
                    await asyncio.sleep(pause)
                yield chunk(number)
        finally:
            _note_end(inputs["probe"])
