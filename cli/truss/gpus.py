"""The GPUs that a model asks for, and those of this machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

from truss.config_values import CONFIG
from truss.errors import EngineError

if TYPE_CHECKING:
    from truss.config_sections import Resources

NO_TOOLKIT = (
    "The model asks for a GPU, which the engine gives to containers once the NVIDIA Container Toolkit is installed: "
    "`nvidia-ctk runtime configure --runtime=docker`, then restart the engine. Or push with `--target local`."
)

NO_DRIVER = "could not select device driver"
"""What an engine says that cannot give GPUs to containers; it has no code for it."""

LIMIT = 10.0
"""Seconds nvidia-smi may take; a driver that hangs is no driver."""


def gpus_wanted(resources: Resources) -> int:
    """Return how many GPUs a model asks for."""
    if resources.accelerator is not None:
        return int(resources.accelerator.partition(":")[2] or 1)
    return int(resources.use_gpu)


def gpus_here(devices: Path = Path("/dev"), program: str = "nvidia-smi") -> int:
    """Return how many GPUs this machine has.

    Args:
        devices: Folder of device files.
        program: Is asked where there are none: some systems have GPUs without such files.
    """
    files = [path for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    found = None if files else which(program)
    if found is None:
        return len(files)
    try:
        done = subprocess.run([found, "-L"], capture_output=True, text=True, timeout=LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines()) if done.returncode == 0 else 0


def explain_start(error: EngineError) -> None:
    """Add what to do to the error of a container with GPUs, where it did not start for want of them."""
    if NO_DRIVER in error.details:
        error.hint = NO_TOOLKIT


def check_gpus(resources: Resources, here: int, *, require: bool) -> str:
    """Return what to say where a model asks for more GPUs than there are, else nothing.

    Args:
        resources: What the model asks for.
        here: GPUs of this machine.
        require: Whether it must not run without them.

    Raises:
        EngineError: It must not.
    """
    wanted = max(gpus_wanted(resources), int(require))
    if here >= wanted:
        return ""
    there = "no GPU" if here == 0 else f"{here} GPU{'s' if here > 1 else ''}"
    asked = resources.accelerator or ("one" if wanted == 1 else str(wanted))
    who = f"{CONFIG} asks for {asked}" if gpus_wanted(resources) else "--require-gpu asks for one"
    message = f"This machine has {there}, and {who}."
    if require:
        raise EngineError(
            message,
            hint="`nvidia-smi -L` lists what the driver knows. Without --require-gpu the model runs all the same.",
        )
    return f"{message} The model runs with what there is."
