"""GPUs: what a model asks for, what the machine has, and what is said where they differ. No GPU is needed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers import build_tree
from truss.config import TrussConfig
from truss.errors import EngineError
from truss.gpus import check_gpus, explain_start, gpus_here, gpus_wanted

if TYPE_CHECKING:
    from pathlib import Path

    from truss.config_sections import Resources


def resources(**written: object) -> Resources:
    """Return the resources that a config.yaml asks for."""
    return TrussConfig.model_validate({"resources": written}).resources


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ({}, 0),
        ({"use_gpu": True}, 1),
        ({"accelerator": "L4"}, 1),
        ({"accelerator": "A100:2", "use_gpu": True}, 2),
    ],
)
def test_wanted(written: dict[str, object], count: int) -> None:
    """An accelerator asks for as many as it says, `use_gpu` for one."""
    assert gpus_wanted(resources(**written)) == count


def test_device_files(tmp_path: Path) -> None:
    """Each GPU has a file; the driver has more."""
    build_tree(tmp_path, {"nvidia0": "", "nvidia1": "", "nvidiactl": "", "nvidia-uvm": "", "sda": ""})

    assert gpus_here(tmp_path, "no-such-program") == 2


@pytest.mark.parametrize(
    ("script", "count"),
    [("echo 'GPU 0: L4'; echo 'GPU 1: L4'", 2), ("echo 'GPU 0: L4'; exit 9", 0), ("exit 0", 0)],
)
def test_what_the_driver_says(tmp_path: Path, script: str, count: int) -> None:
    """Where there are no such files, the driver's program is asked; one that fails knows of none."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)

    assert gpus_here(tmp_path, str(program)) == count


@pytest.mark.parametrize(
    ("written", "here", "said"),
    [
        ({}, 0, ""),
        ({"accelerator": "A100:2"}, 2, ""),
        ({"use_gpu": True}, 0, "This machine has no GPU, and config.yaml asks for one. "),
        ({"accelerator": "A100:4"}, 1, "This machine has 1 GPU, and config.yaml asks for A100:4. "),
    ],
)
def test_what_is_said(written: dict[str, object], here: int, said: str) -> None:
    """A machine with fewer is told of, and refused where that was asked for."""
    expected = f"{said}The model runs with what there is." if said else ""

    assert check_gpus(resources(**written), here, require=False) == expected
    if said:
        with pytest.raises(EngineError, match=said.strip()):
            check_gpus(resources(**written), here, require=True)


def test_a_gpu_is_required_that_nobody_asked_for() -> None:
    """`--require-gpu` alone wants one."""
    with pytest.raises(EngineError, match="This machine has no GPU, and --require-gpu asks for one"):
        check_gpus(resources(), 0, require=True)


@pytest.mark.parametrize(
    ("details", "explained"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', True),
        ("failed to create endpoint on network bridge: no space left on device", False),
        ("", False),
    ],
)
def test_a_container_that_does_not_start(details: str, *, explained: bool) -> None:
    """How an engine gives GPUs to containers is told where that is what it lacks, and nowhere else."""
    error = EngineError("Docker could not start a container.", details=details)

    explain_start(error)

    assert ("NVIDIA Container Toolkit" in error.hint) is explained
