"""Find the deployment that the user means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from truss.deps import TARGETS
from truss.errors import EngineError, NotDeployedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from truss.release import Deployment
    from truss.targets import Target


def all_deployments(target: Callable[[str], Target]) -> tuple[list[Deployment], dict[str, EngineError]]:
    """Return what all targets list, newest first, and why some of them do not answer."""
    found: list[Deployment] = []
    silent: dict[str, EngineError] = {}
    for name in TARGETS:
        try:
            found += target(name).deployments()
        except EngineError as exc:  # noqa: PERF203 each target for itself, and there are two
            silent[name] = exc
    return sorted(found, key=lambda deployment: deployment.started, reverse=True), silent


def find_all(target: Callable[[str], Target], model: str, environment: str | None) -> list[Deployment]:
    """Return the deployments of a model, those that run before all others, newest first.

    Args:
        target: Gives a target by name.
        model: Its name.
        environment: Where it is deployed; None takes any.

    Raises:
        NotDeployedError: There is none.
    """
    listed, silent = all_deployments(target)
    found = [one for one in listed if one.model == model and environment in {None, one.environment}]
    if not found:
        details = [f"The target {name} does not answer: {error.message}" for name, error in silent.items()]
        details += ["Deployed are:", *(f"  {describe(one)}" for one in listed)] if listed else []
        where = f" in {environment}" if environment else ""
        raise NotDeployedError(
            f"{model} is not deployed{where}.", details="\n".join(details), hint="`truss push` deploys it."
        )
    return sorted(found, key=lambda one: not one.running)


def find_deployment(
    target: Callable[[str], Target],
    model: str,
    environment: str | None,
    *,
    note: Callable[[str], None],
) -> Deployment:
    """Return the first of `find_all`.

    Args:
        target: Gives a target by name.
        model: Its name.
        environment: Where it is deployed; None takes any.
        note: Told where there was a choice.

    Raises:
        NotDeployedError: There is none.
    """
    best, *others = find_all(target, model, environment)
    if others:
        note(f"{model} is deployed {len(others) + 1} times: taking {describe(best)}.")
    return best


def find_running(
    target: Callable[[str], Target],
    model: str,
    environment: str | None,
    *,
    note: Callable[[str], None],
) -> Deployment:
    """Return the deployment of a model that can answer; arguments as for `find_deployment`.

    Raises:
        NotDeployedError: There is none, or it does not run.
    """
    found = find_deployment(target, model, environment, note=note)
    if not found.running:
        option = f"--model {found.model} --environment {found.environment}"
        raise NotDeployedError(
            f"{describe(found)} is deployed but not running.",
            hint=f"`truss logs {option}` shows why; `truss push` starts it anew.",
        )
    return found


def describe(deployment: Deployment) -> str:
    """Return a deployment in words."""
    return (
        f"{deployment.model} release {deployment.release} in {deployment.environment} on {deployment.target}"
    )
