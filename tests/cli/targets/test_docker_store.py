"""`truss.targets.docker_store`: the archive that names images which an engine has already."""

from __future__ import annotations

import io
import json
import tarfile

from truss.targets.docker_store import names_archive

SERVER = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:1", "size": 12}
RELEASE = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:2", "size": 34}


def test_an_archive_has_names_and_no_content() -> None:
    """Each name in full, upon what it names already: the layers are the engine's."""
    archive = names_archive(
        {
            "truss-server:a": {**SERVER, "annotations": {"config.digest": "sha256:3"}},
            "truss/model:b": RELEASE,
        }
    )

    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {info.name: json.loads(tar.extractfile(info).read()) for info in tar}  # type: ignore[union-attr]
    name = "io.containerd.image.name"
    assert files == {
        "oci-layout": {"imageLayoutVersion": "1.0.0"},
        "index.json": {
            "schemaVersion": 2,
            "manifests": [
                {**SERVER, "annotations": {name: "docker.io/library/truss-server:a"}},
                {**RELEASE, "annotations": {name: "docker.io/truss/model:b"}},
            ],
        },
    }
