"""What a model downloads is there for its next release, for no other model, and goes with the last release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.docker_models import build, predict, start
from truss.targets.docker_cache import prune_caches

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine import EngineCleaner
    from truss.targets.docker import DockerTarget

pytestmark = [
    pytest.mark.docker,
    # The first test builds the server's image, which is slow on a busy machine.
    pytest.mark.timeout(600),
]

DOWNLOADS = """
from pathlib import Path

class Model:
    def load(self):
        weights = Path.home() / ".cache" / "hub" / "weights"
        self._came = "kept" if weights.exists() else "downloaded"
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.write_text("heavy")

    def predict(self, request):
        return VERSION, self._came
"""


READS = """
from pathlib import Path

class Model:
    def predict(self, request):
        return (Path.home() / ".cache/hub/weights").read_text()
"""


def version(number: int) -> str:
    """Return the source of a model that says which one it is."""
    return DOWNLOADS.replace("VERSION", str(number))


def test_the_next_release_finds_it(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """An edit of the code downloads nothing again; whoever the container runs as can write there."""
    first = start(target, build(target, tmp_path, docker_model, version(1)))
    target.promote(first)
    assert predict(first, {}) == '[1,"downloaded"]'

    second = start(target, build(target, tmp_path, docker_model, version(2)))
    assert predict(second, {}) == '[2,"kept"]'
    assert len(engine.caches(docker_model)) == 1


def test_what_build_commands_put_there(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """Other commands make another cache: what they download is not hidden by what was there before."""
    commands = ["mkdir -p ~/.cache/hub && echo first >~/.cache/hub/weights"]
    target.promote(start(target, build(target, tmp_path, docker_model, READS, build_commands=commands)))

    commands = ["mkdir -p ~/.cache/hub && echo second >~/.cache/hub/weights"]
    second = start(target, build(target, tmp_path, docker_model, READS, build_commands=commands))

    assert predict(second, {}) == '"second\\n"'


def test_another_model_does_not(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """Nobody reads, or spoils, what another model keeps."""
    start(target, build(target, tmp_path / "mine", docker_model, version(1)))
    other = engine.unused_model_name()
    try:
        theirs = start(target, build(target, tmp_path / "theirs", other, version(2)))
        assert predict(theirs, {}) == '[2,"downloaded"]'
    finally:
        engine.remove_model(other)


def test_it_goes_with_the_last_release(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """A stopped model keeps it as long as the engine has an image of it."""
    release = build(target, tmp_path, docker_model, version(1))
    target.stop(start(target, release))
    prune_caches(engine.client)
    assert len(engine.caches(docker_model)) == 1

    engine.client.remove_image(release.reference)
    prune_caches(engine.client)
    assert engine.caches(docker_model) == []
