"""System packages come through the user's proxy and certificates, whichever builder there is."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.engine import way_to_engine
from tests.fakes import RecordedProgress
from tests.file_server import make_certificate, serve_folder
from tests.helpers import build_tree
from tests.integration.docker_models import COUNT
from tests.integration.test_docker_builders import no_buildkit
from tests.plans import make_plan
from truss.errors import BuildError
from truss.images import plan_images
from truss.targets.buildkit import BuildKit
from truss.targets.docker_build import ImageBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.engine import EngineCleaner

    Finds = Callable[[Mapping[str, str]], BuildKit | None]

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

BUILDERS = pytest.mark.parametrize("find", [BuildKit.find, no_buildkit], ids=["buildkit", "classic"])
CONTROL = "Package: probe\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody\nDescription: a probe\n"


def make_repository(folder: Path) -> None:
    """Make a folder with a Debian package that apt finds there."""
    build_tree(folder.with_name("probe"), {"DEBIAN/control": CONTROL, "usr/share/probe": "found"})
    build_tree(folder, {"probe.deb": b""})
    command = ["dpkg-deb", "--build", str(folder.with_name("probe")), str(folder / "probe.deb")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    package = (folder / "probe.deb").read_bytes()
    digest = hashlib.sha256(package).hexdigest()
    index = f"{CONTROL}Filename: ./probe.deb\nSize: {len(package)}\nSHA256: {digest}\n"
    build_tree(folder, {"Packages": index})


class System:
    """The image of a system package that is in a repository of the user's.

    Args:
        engine: Where.
        model: Name of the model.
        folder: For files.
        url: Of the repository.

    Attributes:
        base_id: Of the image that the packages come upon.
        labels: Of the image that was built last.
    """

    def __init__(self, engine: EngineCleaner, model: str, folder: Path, url: str) -> None:
        self._engine, self._base = engine, f"{model}-base:1"
        sources = f"deb [trusted=yes] {url} ./"
        dockerfile = (
            f"FROM python:3.11-slim\nLABEL truss.model={model}\n"
            f"RUN rm -rf /etc/apt/sources.list.d && echo '{sources}' >/etc/apt/sources.list\n"
        )
        build_tree(folder / "base", {"Dockerfile": dockerfile})
        for event in engine.client.build(path=str(folder / "base"), tag=self._base, rm=True, decode=True):
            assert "error" not in event, event
        package = build_tree(folder / "package", {"model/model.py": COUNT})
        plan = make_plan(package, model, system_packages=["probe"], base_image={"image": self._base})
        found = engine.client.inspect_image(self._base)  # type: ignore[no-untyped-call]
        self.base_id = str(found["Id"])
        self._image = plan_images(plan, self.base_id)[0]
        self.labels: Mapping[str, str] = {}
        self.environ = way_to_engine(TRUSS_HOME=str(folder / "state"))

    def build(self, find: Finds, **environ: str) -> bytes:
        """Build the image; return the file of the package in it, as a tar."""
        builder = ImageBuilder(self._engine.client, {**self.environ, **environ}, find)
        try:
            builder.build(self._image, RecordedProgress(), {})
            return self._engine.files(self._image.tag, "/usr/share/probe")
        finally:
            self.labels = self._engine.image_labels(self._image.tag)
            if self.labels:
                self._engine.client.remove_image(self._image.tag)


@BUILDERS
def test_certificates_of_a_company(
    engine: EngineCleaner, docker_model: str, tmp_path: Path, find: Finds
) -> None:
    """A mirror behind TLS that only the company's own bundle vouches for."""
    host = engine.host_address()
    make_repository(tmp_path / "mirror")
    certificate = make_certificate(tmp_path, host)
    with serve_folder(tmp_path / "mirror", host, certificate=certificate) as url:
        system = System(engine, docker_model, tmp_path, url)
        with pytest.raises(BuildError) as caught:
            system.build(find)
        try:
            found = system.build(find, REQUESTS_CA_BUNDLE=str(certificate))
        except BuildError as exc:
            pytest.fail(f"{exc}\n{exc.details}")

    assert "Certificate verification failed" in caught.value.details
    assert b"found" in found


@BUILDERS
def test_through_a_proxy(engine: EngineCleaner, docker_model: str, tmp_path: Path, find: Finds) -> None:
    """A mirror that only the company's proxy reaches, which is named in capitals and wants a password."""
    make_repository(tmp_path / "proxy/http:/mirror.test")
    with serve_folder(tmp_path / "proxy", engine.host_address()) as url:
        system = System(engine, docker_model, tmp_path, "http://mirror.test")
        found = system.build(find, HTTP_PROXY=url.replace("//", "//me:s3cret@"))

    assert b"found" in found
    assert system.labels["truss.base"] == system.base_id
