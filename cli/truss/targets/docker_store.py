"""Engines that keep images in containerd's store, as Docker 29 does by itself: what has to be done otherwise there."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

from truss.targets.docker_engine import engine_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import docker

SNAPSHOTTER = ["driver-type", "io.containerd.snapshotter.v1"]

NAME = "io.containerd.image.name"
"""Annotation in the index of an archive: what the engine calls an image that it loads."""


def in_containerd(client: docker.APIClient) -> bool:
    """Return whether an engine keeps its images in containerd's store."""
    with engine_errors("say how it keeps images"):
        return SNAPSHOTTER in (client.info().get("DriverStatus") or ())


def names_again(found: Mapping[str, Mapping[str, Any]]) -> bytes | None:
    """Return an archive that gives images their names once more when it is loaded; it holds nothing else of them.

    To tag an image with a name that it has does nothing in containerd's store. What is loaded is named anew, at the
    time of that and without being away in between; of which blobs there are none, those of the engine are taken.

    Args:
        found: What the engine says of images that it has, by name.

    Returns:
        The archive; None where the engine, older than Docker 28, does not say enough for one.
    """
    manifests = [
        {
            **{key: one["Descriptor"][key] for key in ("mediaType", "digest", "size")},
            "annotations": {NAME: _whole(name)},
        }
        for name, one in found.items()
        if one.get("Descriptor")
    ]
    if not manifests:
        return None
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
