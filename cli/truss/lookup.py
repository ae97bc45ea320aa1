"""Find the deployment that the user means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from truss.deps import TARGETS
from truss.errors import EngineError, NotDeployedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from truss.release import Deployment
    from truss.targets import Target


def model_of(package: Path) -> str:
    """Return the name of the model in a folder.

    Raises:
        UsageError: The folder is no package.
        PackageError: Its config.yaml is wrong.
    """
    from truss.config import load_config
    from truss.config_values import CONFIG

    if not (package / CONFIG).exists():
        raise UsageError(
            f"This folder is no package: it has no {CONFIG}.",
            hint="Change into one, or name a model by --model.",
        )
    return load_config(package).model_slug(package)


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


def find_deployment(
    target: Callable[[str], Target],
    model: str,
    environment: str | None,
    *,
    note: Callable[[str], None],
) -> Deployment:
    """Return the deployment of a model, running or not; of several the newest, those that run before all others.

    Args:
        target: Gives a target by name.
        model: Its name.
        environment: Where it is deployed; None takes any.
        note: Told where there was a choice.

    Raises:
        NotDeployedError: There is none.
    """
    listed, silent = all_deployments(target)
    where = f" in {environment}" if environment else ""
    found = [
        deployment
        for deployment in listed
        if deployment.model == model and environment in {None, deployment.environment}
    ]
    if not found:
        others = [f"  {describe(deployment)}" for deployment in listed]
        details = [f"The target {name} does not answer: {error.message}" for name, error in silent.items()]
        details += ["Deployed are:", *others] if others else []
        raise NotDeployedError(
            f"{model} is not deployed{where}.", details="\n".join(details), hint="`truss push` deploys it."
        )
    best = next((deployment for deployment in found if deployment.running), found[0])
    if len(found) > 1:
        note(f"{len(found)} deployments of {model}{where}: taking {describe(best)}")
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
