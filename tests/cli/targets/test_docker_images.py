"""`truss.targets.docker_images`: what an engine says of images, as each kind of engine says it."""

from __future__ import annotations

import pytest

from truss.targets.docker_images import names_of


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
