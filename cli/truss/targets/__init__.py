"""Where deployments run. A target is one Protocol with two adapters: `local` and `docker`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from truss.channel import Channel
    from truss.progress import Progress
    from truss.release import Deployment, Release, ReleasePlan


class Target(Protocol):
    """A place that builds releases and runs deployments.

    A deployment passes two stages: `start` makes a *candidate*, which answers at its URL but is not
    listed; `promote` makes it the deployment of its environment and stops the one before it.
    Whoever starts a candidate ends it with `promote` or `discard`.
    """

    name: str

    def build(self, plan: ReleasePlan, progress: Progress) -> Release:
        """Build a release, or return the one that was built from an equal plan.

        Raises:
            BuildError: With the last lines of what failed. Nothing half-built is left behind.
            EngineError: The target does not answer.
        """

    def start(self, release: Release, environment: str, *, port: int | None) -> Deployment:
        """Start a candidate on 127.0.0.1 and return without waiting for its model.

        Args:
            release: What to run.
            environment: Where it is going to belong.
            port: Listen there; None takes a free one. Where the current deployment of the same model and
                environment holds that port, it is stopped first, and `discard` starts it again.

        Raises:
            EngineError: The port is taken, or the target does not answer.
        """

    def prepare(self, plan: ReleasePlan, progress: Progress) -> Path | None:
        """Make the environment of a plan beside the one that is in use; return its interpreter.

        Returns:
            None where an environment cannot be exchanged without a build.

        Raises:
            BuildError: The requirements cannot be installed.
        """

    def attach(self, deployment: Deployment) -> Channel:
        """Return a channel to the control socket of a deployment in development.

        Raises:
            NotDeployedError: It is gone.
            EngineError: It has none, or does not answer.
        """

    def promote(self, candidate: Deployment) -> None:
        """List the candidate as the deployment of its environment; drain and stop the one before it."""

    def discard(self, candidate: Deployment) -> None:
        """End a candidate at once and leave no trace of it. Safe to call twice."""

    def stop(self, deployment: Deployment) -> None:
        """Let running requests finish (bounded by the server's drain timeout), then end it and unlist it."""

    def exit_code(self, deployment: Deployment) -> int | None:
        """Return the exit code of the deployment's server, None while it lives."""

    def logs(self, deployment: Deployment, *, follow: bool) -> Iterator[str]:
        """Yield the server's log lines (JSON, no newline) from its start; `follow` goes on until it ends."""

    def deployments(self) -> list[Deployment]:
        """Return the listed deployments of this target, newest first."""
