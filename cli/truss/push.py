"""From a package to a deployment that answers: named steps, of which none leaves anything behind when it fails."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from truss.errors import EngineError, TrussError
from truss.gpus import check_gpus, gpus_here
from truss.model_class import takes_no_inputs
from truss.model_source import model_methods
from truss.ports import check_port
from truss.prepare import plan_aloud, prepare
from truss.readiness import Wait, wait_until_ready
from truss.secrets import find_secrets
from truss.signals import signals_held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from truss.client import HttpClient
    from truss.config import TrussConfig
    from truss.deps import Clock
    from truss.progress import Progress
    from truss.release import Deployment, ReleasePlan
    from truss.targets import Target

DEFAULT_SECONDS = 600.0
"""How long a model may take to become ready."""


@dataclass(frozen=True)
class Wish:
    """How a package is to be deployed.

    Attributes:
        target: `local` or `docker`; None takes what this machine has.
        environment: Where it belongs.
        port: To listen on; None takes a free one.
        seconds: How long the model may take to become ready.
        keep_port: Whether to take the port of what it replaces, where none is given.
        require_gpu: Whether to refuse a machine with fewer GPUs than the model asks for.
    """

    target: str | None
    environment: str
    port: int | None
    seconds: float
    keep_port: bool = False
    require_gpu: bool = False


@dataclass(frozen=True)
class Pushed:
    """What a push made.

    Attributes:
        plan: Of the release.
        deployment: Of the release.
        methods: Names of the methods that the model is seen to have; it may inherit more.
    """

    plan: ReleasePlan
    deployment: Deployment
    methods: frozenset[str] = frozenset()


def push(
    package: Path,
    wish: Wish,
    *,
    target: Callable[[str], Target],
    client: HttpClient,
    clock: Clock,
    progress: Progress,
    finish: ExitStack,
    environ: Mapping[str, str] = os.environ,
) -> Pushed:
    """Deploy a package.

    Args:
        package: Its folder.
        wish: How.
        target: Gives a target by name.
        client: Asks the server whether it is ready.
        clock: Time.
        progress: Told of each step.
        finish: Closed by the caller when it has told the outcome. From the point of no return on, signals are
            held until then.
        environ: The user's environment.

    Raises:
        TrussError: A step failed; what it had started was ended.
    """
    prepare(package, lambda: client, progress)
    with progress.step("plan"):
        plan = plan_aloud(package, progress)
        methods = model_methods(plan.config, plan.files)
        if lacking := check_gpus(plan.config.resources, gpus_here(), require=wish.require_gpu):
            progress.note(lacking)
        for name in unset_secrets(plan, environ):
            progress.note(f"The secret {name} is not set and has no default: `truss secrets set {name}`.")
        if "predict" in methods and takes_no_inputs(methods["predict"]):
            place = f"{plan.config.model_file}:{methods['predict'].lineno}"
            progress.note(f"{place}: `predict` takes no inputs: what requests hold is ignored.")
    chosen = choose_target(target, wish.target, progress)
    if wish.port is not None:
        check_port(wish.port, chosen.deployments(), (plan.manifest.model, wish.environment))
    with progress.step("build"):
        release = chosen.build(plan, progress)
    before = _replaced(chosen, plan.manifest.model, wish.environment)
    port = before.port if wish.keep_port and wish.port is None and before else wish.port
    with discarded_on_failure(chosen, progress) as started:
        with progress.step("start"):
            started.append(chosen.start(release, wish.environment, port=port))
        with progress.step("wait until ready"):
            wait = Wait(wish.seconds, _still_doing(plan.config), runs_on=before is not None)
            wait_until_ready(chosen, started[0], wait, client=client, clock=clock, progress=progress)
        with progress.step("promote"):
            _promote(chosen, started[0], progress, finish)
    return Pushed(plan, started[0], frozenset(methods))


def unset_secrets(plan: ReleasePlan, environ: Mapping[str, str]) -> list[str]:
    """Return the names of secrets that a model which asks for them would not get."""
    needed = [name for name, default in plan.config.model_secrets.items() if not default]
    found = find_secrets(needed, environ)
    return [name for name in needed if name not in found]


def _still_doing(config: TrussConfig) -> str:
    """Return what goes on in a server that is not ready and says nothing."""
    if config.docker_server is not None:
        asked = config.docker_server.readiness_endpoint
        return (
            f"`readiness_endpoint`, {asked}, has not answered 2xx on the port that the variable PORT names."
        )
    return f"`load()` of {config.model_file}, or what the file does when imported, is still running."


def choose_target(target: Callable[[str], Target], wanted: str | None, progress: Progress) -> Target:
    """Return the wanted target; if none is wanted, docker where an engine answers, else local."""
    if wanted is not None:
        return target(wanted)
    try:
        return target("docker")
    except EngineError as exc:
        progress.note(f"Taking the target local, because docker cannot be used: {exc.message}")
        return target("local")


def _promote(target: Target, candidate: Deployment, progress: Progress, finish: ExitStack) -> None:
    """Promote a candidate. Once it is listed the push has happened: what goes wrong after that is only told."""
    try:
        target.promote(candidate)
        finish.enter_context(signals_held())
    except (KeyboardInterrupt, SystemExit, TrussError) as exc:
        finish.enter_context(signals_held())
        if not _took_over(target, candidate):
            raise
        reason = (
            exc.message if isinstance(exc, TrussError) else "interrupted, its last requests were cut short"
        )
        progress.note(f"What ran before did not end in peace: {reason}")


def _took_over(target: Target, candidate: Deployment) -> bool:
    """Return whether a candidate is listed; if it is, end what should have made room for it."""
    try:
        listed = target.deployments()
    except TrussError:
        return False
    if candidate.id not in {one.id for one in listed}:
        return False
    place = (candidate.model, candidate.environment)
    for one in listed:
        if one.id != candidate.id and (one.model, one.environment) == place:
            with suppress(TrussError):
                target.stop(one)
    return True


@contextmanager
def discarded_on_failure(target: Target, progress: Progress) -> Iterator[list[Deployment]]:
    """Give a list for candidates; whatever leaves the block other than its end, Ctrl-C included, ends them."""
    candidates: list[Deployment] = []
    try:
        yield candidates
    except BaseException:
        with signals_held():
            for candidate in candidates:
                _discard(target, candidate, progress)
        raise


def _discard(target: Target, candidate: Deployment, progress: Progress) -> None:
    """End a candidate; that this fails must not hide why it was to be ended."""
    try:
        target.discard(candidate)
    except TrussError as exc:
        progress.note(f"What was started could not be ended ({candidate.id}): {exc.message}")


def _replaced(target: Target, model: str, environment: str) -> Deployment | None:
    """Return the deployment that runs and that a push would replace."""
    place = (model, environment)
    listed = target.deployments()
    return next((one for one in listed if one.running and (one.model, one.environment) == place), None)
