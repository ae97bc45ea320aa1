"""Engines that keep images in containerd's store, as Docker 29 does by itself: what has to be done otherwise there."""

from __future__ import annotations

import io
import json
import tarfile
from collections import deque
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from docker.errors import APIError

from truss.targets.docker_engine import engine_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import docker

SNAPSHOTTER = ["driver-type", "io.containerd.snapshotter.v1"]

NAME = "io.containerd.image.name"
"""Annotation in the index of an archive: what the engine calls an image that it loads."""

AGAIN = "-again"
"""Ends a name that an image has for a moment."""


@lru_cache(maxsize=1)  # asked several times of the one engine that a command has
def in_containerd(client: docker.APIClient) -> bool:
    """Return whether an engine keeps its images in containerd's store."""
    with engine_errors("say how it keeps images"):
        return SNAPSHOTTER in (client.info().get("DriverStatus") or ())


def name_again(client: docker.APIClient, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Give images the names that they have once more: when that was last is what the engine says of them.

    To tag them does nothing in containerd's store. What is loaded is named anew, and is not away in between. An engine
    that is older than Docker 28 does not say enough for that.

    Args:
        client: Of the engine.
        found: What the engine says of each image, by name.
    """
    targets = {name: one["Descriptor"] for name, one in found.items() if one.get("Descriptor")}
    if not targets:
        return
    with engine_errors("name images"), suppress(APIError):  # one went meanwhile: it is looked for again
        # To the end, when it is done; an error among the events is of one that went meanwhile, too.
        deque(client.load_image(names_archive(targets)), maxlen=0)  # type: ignore[no-untyped-call]
    for name in targets:
        with engine_errors(f"name {name}"), suppress(APIError):
            # What it stood for before, the same, is kept as <none> until it gets yet another name.
            client.tag(name, name.partition(":")[0], f"{name.partition(':')[2]}{AGAIN}")
            client.remove_image(name + AGAIN)


def names_archive(targets: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return an archive that holds names of images and nothing of what they are: the engine has that.

    Args:
        targets: Descriptors of the images, by name.
    """
    manifests = [
        {**{key: target[key] for key in ("mediaType", "digest", "size")}, "annotations": {NAME: _whole(name)}}
        for name, target in targets.items()
    ]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, value in (
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
            ("index.json", {"schemaVersion": 2, "manifests": manifests}),
        ):
            content = json.dumps(value).encode()
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return archive.getvalue()


def _whole(name: str) -> str:
    """Return the name of an image of ours with the registry that Docker leaves out."""
    return f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}"
