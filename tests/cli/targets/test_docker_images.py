"""`truss.targets.docker_images`: what an engine says of images, as each kind of engine says it."""

from __future__ import annotations

import time

import pytest

from truss.targets.docker_images import last_named, names_of


@pytest.mark.parametrize(
    ("said", "names"),
    [
        (["truss/m:1", "mine:1"], ["truss/m:1", "mine:1"]),
        (
            ["docker.io/truss/m:1", "docker.io/library/mine:1", "quay.io/truss/m:1"],
            ["truss/m:1", "mine:1", "quay.io/truss/m:1"],
        ),
        (None, []),
    ],
)
def test_names_of_an_image(said: list[str] | None, names: list[str]) -> None:
    """Podman writes out the registry that Docker leaves out; an image without a name has none with either."""
    assert names_of({"RepoTags": said}) == names


@pytest.mark.parametrize(
    "said", ["2026-11-30T18:14:53.542176448Z", "2026-11-30T19:14:53.5+01:00", "2026-11-30T18:14:53Z"]
)
def test_when_an_image_was_named(said: str) -> None:
    """Engines write any number of digits, and the time of any place."""
    assert last_named({"Metadata": {"LastTagTime": said}}) == 1796062493.0


@pytest.mark.parametrize("said", [{}, {"Metadata": {}}, {"Metadata": {"LastTagTime": "yesterday"}}])
def test_an_engine_that_does_not_say_when(said: dict[str, dict[str, str]]) -> None:
    """The image counts as used just now, and stays."""
    assert abs(last_named(said) - time.time()) < 60
