"""Unknown keys: each slip of the pen, and each word of other tools, is told the key that was meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from truss.config import TrussConfig, load_config
from truss.config_keys import SYNONYMS, meant
from truss.config_sections import section_of

REFERENCE = Path(__file__).parent / "truss_0_18_25"
"""Facts about a release of Truss: its keys, and two configurations as it writes them with `verbose`."""


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("weigths", "weights"),
        ("trt_lm", "trt_llm"),
        ("live_relaod", "live_reload"),
        ("model_cach", "model_cache"),
        ("resources.instance_typ", "resources.instance_type"),
        ("resources.accelorator", "resources.accelerator"),
        ("runtime.health_check", "runtime.health_checks"),
        ("runtime.transprt", "runtime.transport"),
        ("PYTHON_VERSION", "python_version"),
        ("python-version", "python_version"),
        ("acelerator", "resources.accelerator"),
        ("num_workers", "runtime.num_workers"),
        ("runtime.cpu", "resources.cpu"),
        ("env", "environment_variables"),
        ("env_vars", "environment_variables"),
        ("name", "model_name"),
        ("python", "python_version` or `base_image.python_executable_path"),
        ("base_image.python", "base_image.python_executable_path"),
        ("packages", "requirements` or `system_packages"),
        ("gpu", "resources.accelerator"),
        ("resources.gpu", "resources.accelerator"),
        ("health_endpoint", "docker_server.readiness_endpoint"),
        ("docker_server.command", "docker_server.start_command"),
    ],
)
def test_meant(written: str, key: str) -> None:
    """The key that was meant is one of any section, whether or not it has an effect here."""
    assert meant(tuple(written.split(".")), TrussConfig) == f"Did you mean `{key}`?"


def test_nothing_is_like_it() -> None:
    """Where no key is like it, those that there are help more than a guess."""
    assert meant(("zebra",), TrussConfig) == "Correct its name, or remove it."
    assert meant(("base_image", "zebra"), TrussConfig) == "`base_image` takes image, python_executable_path."


@pytest.mark.parametrize("key", sorted({key for keys in SYNONYMS.values() for key in keys}))
def test_synonyms(key: str) -> None:
    """What a word of other tools is said to mean is a key."""
    assert is_key(key)


@pytest.mark.parametrize("key", (REFERENCE / "keys.txt").read_text().split())
def test_keys_of_truss(key: str) -> None:
    """Each key of Truss's own schema is known."""
    assert is_key(key)


@pytest.mark.parametrize("name", ["default", "everything"])
def test_what_truss_writes(name: str, tmp_path: Path) -> None:
    """A configuration loads as Truss writes it, with every default or with every section."""
    text = (REFERENCE / f"{name}.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "shared").mkdir()
    filled = load_config(tmp_path).filled()

    kept = yaml.safe_load(text)["runtime"]["request_backpressure"]
    assert filled["runtime"]["request_backpressure"] == kept


def is_key(key: str) -> bool:
    """Return whether our schema has a key, or leaves what is in the section above it alone."""
    section: Any = TrussConfig
    for part in key.split("."):
        field = section.model_fields.get(part)
        if field is None:
            return False
        section = section_of(field.annotation, in_lists=True)
        if section is None:
            return True
    return True
