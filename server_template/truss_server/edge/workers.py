"""The worker processes that there are: those that load, serve or finish, and in development a spare one.

Starting an interpreter and importing what a worker is made of takes longer than many models take to load. Where
edits make loads, a process that has done so already waits for the next one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from truss_server.edge.custom import CustomServer
from truss_server.edge.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from truss_server.edge.logs import Log
    from truss_server.edge.version import Version


class Workers:
    """All workers of an edge.

    Args:
        log: Receives their output line by line.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._loading: set[Worker] = set()
        self._spare: Worker | None = None
        self._ending = False

    def __iter__(self) -> Iterator[Worker]:
        """Yield those that have a version."""
        return iter(tuple(self._loading))

    def start(self, version: Version) -> Worker:
        """Return a worker that loads a version; when it has, or has failed to, another one waits for the next."""
        worker, self._spare = self._spare, None
        if worker is not None and not _is_custom(version) and worker.fits(version):
            worker.load(version)
        else:
            if worker is not None:
                worker.kill()
            worker = (CustomServer if _is_custom(version) else Worker)(version, self._log)
        self._loading.add(worker)
        worker.ready.add_done_callback(lambda _: self._prepare(version))
        worker.life.add_done_callback(lambda _: self._loading.discard(worker))
        return worker

    def _prepare(self, version: Version) -> None:
        """Have a spare worker for one of the next versions, where there will be any."""
        if _is_custom(version):
            return  # nothing of an author's own server can be started before its time
        if version.swaps and not self._ending and (self._spare is None or not self._spare.fits(version)):
            self.forget_spare()
            self._spare = Worker(version, self._log, spare=True)

    def forget_spare(self) -> None:
        """End the spare worker: what its interpreter found when it started may have changed."""
        if self._spare is not None:
            self._spare.kill()
            self._spare = None

    def used(self) -> set[int]:
        """Return the numbers of the versions that a worker may still read files of."""
        return {number for worker in self._loading for number in worker.used}

    def give_up(self) -> None:
        """End the calls that run."""
        for worker in self._loading:
            if worker.link is not None:
                worker.link.give_up("the server is stopping")

    async def stop(self) -> None:
        """End all of them: ask, then insist."""
        self._ending = True
        spare, self._spare = self._spare, None
        ending = self._loading if spare is None else {*self._loading, spare}
        await asyncio.gather(*[worker.stop() for worker in ending])

    def kill(self) -> None:
        """End all of them, and what they started, at once."""
        self._ending = True
        self.forget_spare()
        for worker in self._loading:
            worker.kill()


def _is_custom(version: Version) -> bool:
    """Return whether a version is a server of the author's own instead of a class."""
    return version.manifest.config.get("docker_server") is not None
