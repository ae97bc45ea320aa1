"""Find the deployment that the user means."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from truss.config_values import CONFIG
from truss.deps import TARGETS
from truss.errors import EngineError, NotDeployedError, PackageError
from truss_server.protocol import DEVELOPMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from truss.release import Deployment
    from truss.targets import Target

PRODUCTION = "production"
"""Where a push goes, and what is meant, if nothing else is said."""

ENGINE_SOCKET = Path("/var/run/docker.sock")
"""There if an engine is installed, running or not."""

LIST_HINT = "`truss list` shows what is deployed."


@dataclass(frozen=True)
class Wanted:
    """Which deployments the user means.

    Attributes:
        model: Name of the model.
        environment: Where they are; None takes any.
        target: What they run on; None takes any.
        folder: Of the package, as the user wrote it.
    """

    model: str
    environment: str | None = None
    target: str | None = None
    folder: str = "."

    def matches(self, one: Deployment) -> bool:
        """Return whether a deployment is meant."""
        return (
            one.model == self.model
            and self.environment in {None, one.environment}
            and self.target in {None, one.target}
        )

    def push_command(self, folder: Path) -> str:
        """Return the command that deploys it from a folder; empty where that holds another package or none."""
        # Slow to import, and needed only where something is missing.
        from truss.config import load_config

        try:
            if not (folder / CONFIG).exists() or load_config(folder).model_slug(folder) != self.model:
                return ""
        except PackageError:
            return ""
        words = ["truss", "push"] if self.folder == "." else ["truss", "push", self.folder]
        environment = self.environment or PRODUCTION
        if environment == DEVELOPMENT:
            words += ["--watch"]
        elif environment != PRODUCTION:
            words += ["--environment", environment]
        words += ["--target", self.target] if self.target else []
        return shlex.join(words)


def all_deployments(
    target: Callable[[str], Target], only: str | None = None
) -> tuple[list[Deployment], dict[str, EngineError]]:
    """Return what the targets list, newest first, and why some of them do not answer.

    Args:
        target: Gives a target by name.
        only: The one to ask; None asks all.

    Raises:
        EngineError: The only one does not answer.
    """
    found: list[Deployment] = []
    silent: dict[str, EngineError] = {}
    for name in TARGETS if only is None else (only,):
        try:
            found += target(name).deployments()
        except EngineError as exc:  # noqa: PERF203 each target for itself, and there are two
            if only is not None:
                raise
            silent[name] = exc
    return sorted(found, key=lambda deployment: deployment.started, reverse=True), silent


def in_use(name: str, environ: Mapping[str, str]) -> bool:
    """Return whether a target that does not answer may hold deployments: there is an engine, or should be one."""
    return name != "docker" or bool(environ.get("DOCKER_HOST")) or ENGINE_SOCKET.exists()


def silence(name: str, error: EngineError) -> str:
    """Return what to say of a target that does not answer."""
    return f"The target {name} does not answer: {error.message}"


def find_all(
    target: Callable[[str], Target], wanted: Wanted, *, folder: Path | None = None
) -> list[Deployment]:
    """Return the deployments that are meant: those that run first, then production, then the newest.

    Args:
        target: Gives a target by name.
        wanted: Which.
        folder: Where a push could make one; None where that is not what the user is after.

    Raises:
        NotDeployedError: There is none.
        EngineError: The target that is meant does not answer.
    """
    listed, silent = all_deployments(target, wanted.target)
    found = [one for one in listed if wanted.matches(one)]
    if not found:
        details = [silence(name, error) for name, error in silent.items()]
        details += ["Deployed are:", *(f"  {describe(one)}" for one in listed)] if listed else []
        where = f" in {wanted.environment}" if wanted.environment else ""
        where += f" on {wanted.target}" if wanted.target else ""
        push = wanted.push_command(folder) if folder else ""
        raise NotDeployedError(
            f"{wanted.model} is not deployed{where}.",
            details="\n".join(details),
            hint=f"`{push}` deploys it." if push else LIST_HINT,
        )
    return sorted(found, key=lambda one: (not one.running, one.environment != PRODUCTION))


def find_deployment(
    target: Callable[[str], Target], wanted: Wanted, *, folder: Path, note: Callable[[str], None]
) -> Deployment:
    """Return the first of `find_all`.

    Args:
        target: Gives a target by name.
        wanted: Which.
        folder: The user's.
        note: Told where there was a choice.

    Raises:
        NotDeployedError: There is none.
        EngineError: The target that is meant does not answer.
    """
    best, *others = find_all(target, wanted, folder=folder)
    if others:
        note(f"{wanted.model} is deployed {len(others) + 1} times: taking {describe(best)}.")
    return best


def find_running(
    target: Callable[[str], Target], wanted: Wanted, *, folder: Path, note: Callable[[str], None]
) -> Deployment:
    """Return the deployment of a model that can answer; arguments as for `find_deployment`.

    Raises:
        NotDeployedError: There is none, or it does not run.
        EngineError: The target that is meant does not answer.
    """
    found = find_deployment(target, wanted, folder=folder, note=note)
    if not found.running:
        push = replace(wanted, environment=found.environment, target=found.target).push_command(folder)
        anew = f"; `{push}` starts it anew" if push else ""
        raise NotDeployedError(
            f"{describe(found)} is deployed but not running.",
            hint=f"`{command_for('logs', found)}` shows why{anew}.",
        )
    return found


def command_for(name: str, deployment: Deployment) -> str:
    """Return a command that means one deployment, whatever the folder it is typed in."""
    return f"truss {name} --model {deployment.model} --environment {deployment.environment}"


def describe(deployment: Deployment) -> str:
    """Return a deployment in words."""
    return (
        f"{deployment.model} release {deployment.release} in {deployment.environment} on {deployment.target}"
    )
