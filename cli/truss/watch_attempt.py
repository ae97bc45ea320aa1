"""An edit on its way: what a deployment is asked for and has not answered yet."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from truss.control_messages import Change

if TYPE_CHECKING:
    from pathlib import Path

    from truss.patch import Patch
    from truss.snapshot import Snapshot

Strategy = Literal["beside", "replace"]


@dataclass(frozen=True)
class Attempt:
    """What the deployment was asked for, and has not answered yet.

    Attributes:
        snapshot: What is to run.
        patch: How it is to come there.
        begin: When the save was seen.
        cancelled: Whether it is not wanted any more.
    """

    snapshot: Snapshot
    patch: Patch
    begin: float
    cancelled: bool = False


def change_for(
    snapshot: Snapshot, patch: Patch, base: str, strategy: Strategy, python: Path | None
) -> Change:
    """Return what to ask a deployment for.

    Args:
        snapshot: What is to run.
        patch: How it comes there.
        base: Digest of what runs.
        strategy: Whether two models may be loaded at a time.
        python: Interpreter for the model, None for the one it has.
    """
    return Change(
        base=base,
        how="swap" if patch.kind == "swap" else "load",
        manifest=asdict(snapshot.plan.manifest),
        files=tuple(snapshot.files[path] for path in patch.changed),
        delete=patch.deleted,
        modules=patch.modules,
        keep=patch.keep,
        strategy=strategy,
        python=str(python) if python else None,
    )
