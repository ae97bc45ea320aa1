"""Generations of the model in one worker: which one a call is for, and how the next one comes."""

from __future__ import annotations

import gc
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from truss_server import wire
from truss_server.protocol import MANIFEST, Manifest
from truss_server.worker.failures import describe
from truss_server.worker.generations import CannotSwapError
from truss_server.worker.methods import METRICS

if TYPE_CHECKING:
    from truss_server.worker.channel import Channel
    from truss_server.worker.methods import Method
    from truss_server.worker.model import Model


COLLECTED = 8
"""Generations that may be garbage before it is collected, which takes a moment; what `load` made is not looked at."""


class Swaps:
    """The generations that calls may be for.

    Args:
        channel: To the edge, which is told of each one.
        roots: Folders of versions, for tracebacks; new ones are added.

    Attributes:
        newest: The model that new calls are for, once one is loaded.
    """

    def __init__(self, channel: Channel, roots: list[Path]) -> None:
        self.newest: Model | None = None
        self._channel = channel
        self._roots = roots
        self._methods: dict[int, dict[str, Method]] = {}
        self._dropped = 0

    def method(self, generation: int, name: str) -> Method:
        """Return a method of a generation; the edge asks only for what it was told of."""
        return self._methods[generation][name]

    def add(self, generation: int, model: Model, state: str = "ready") -> None:
        """Take calls for a model from now on, and tell the edge."""
        self.newest = model
        self._methods[generation] = {**model.methods, "is_healthy": model.health, "metrics": METRICS}
        facts = {name: method.facts() for name, method in model.methods.items()}
        self._tell(state=state, generation=generation, methods=facts)

    def swap(self, wish: dict[str, Any]) -> None:
        """Begin to bring up the next generation, beside the calls of this one: payload of a SWAP frame."""
        running = self.newest
        if running is None:
            self._tell(state="refused", generation=wish["generation"], because="no model is loaded")
        else:  # not on the event loop: an import may take seconds
            threading.Thread(target=self._swap, args=(running, wish), name="truss-swap", daemon=True).start()

    def drop(self, generation: int) -> None:
        """Forget a generation that no call is for any more; the edge is told when nothing of its code is left."""
        self._methods.pop(generation, None)
        self._dropped += 1
        if self._dropped % COLLECTED == 0:  # modules hold each other
            gc.collect()

    def _swap(self, running: Model, wish: dict[str, Any]) -> None:
        root = Path(wish["root"])
        generation = wish["generation"]
        self._roots.append(root)
        try:
            manifest = Manifest.from_json((root / MANIFEST).read_text(encoding="utf-8"))
            model = running.swapped(root, manifest, wish["modules"], wish["keep"])
        except CannotSwapError as exc:
            self._tell(state="refused", generation=generation, because=str(exc))
        except BaseException as exc:  # noqa: BLE001 - the author's code may raise anything, SystemExit included
            self._tell(state="broken", generation=generation, **describe(exc, self._roots))
        else:
            model.when_forgotten(partial(self._tell, state="forgotten", generation=generation))
            self.add(generation, model, "swapped")

    def _tell(self, **state: Any) -> None:
        self._channel.send(wire.encode(wire.STATE, 0, wire.pack(state)))
