"""What a watcher needs of the world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from truss.client import HttpClient
    from truss.deps import Clock
    from truss.progress import Progress
    from truss.targets import Target
    from truss.watch_events import Told


@dataclass(frozen=True)
class Outside:
    """What a watcher needs of the world.

    Attributes:
        target: Where the deployment runs.
        client: Asks a rebuilt server whether it is ready.
        clock: Time.
        progress: Shows the steps of what takes long.
        tell: Told of each event.
    """

    target: Target
    client: HttpClient
    clock: Clock
    progress: Callable[[], AbstractContextManager[Progress]]
    tell: Callable[[Told], None]
