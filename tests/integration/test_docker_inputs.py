"""What a package brings to a build besides its code, on a real engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import docker
import pytest

from tests.engine import way_to_engine
from tests.fakes import RecordedProgress
from tests.file_server import make_certificate, serve_folder
from tests.helpers import build_tree
from tests.integration.docker_models import build, predict, start
from tests.wheelhouse import make_wheel
from truss.errors import BuildError
from truss.plan import plan_release
from truss.targets.docker import DockerTarget
from truss.targets.docker_engine import with_address

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine import EngineCleaner
    from truss.release import Release

pytestmark = [
    pytest.mark.docker,
    # The first test builds the server's image, which is slow on a busy machine.
    pytest.mark.timeout(600),
]

LOOK = """
import importlib.metadata
from pathlib import Path

class Model:
    def predict(self, request):
        return {
            "installed": sorted(f"{d.name} {d.version}" for d in importlib.metadata.distributions()),
            "lock": Path("/opt/model/requirements.lock").read_text(),
        }
"""


PLACES = ("/app", "/etc", "/home", "/opt", "/root", "/tmp", "/var/tmp")
"""Where a build may leave something; the rest of an image is the base image's."""

COUNT = "class Model:\n    def predict(self, request):\n        return 1\n"


class CutOff(docker.APIClient):
    """A client whose builds have no network."""

    def build(self, **options: Any) -> Any:  # type: ignore[override]
        """Build without a network."""
        return super().build(**options, network_mode="none")


@dataclass
class Company:
    """A user behind a company's firewall, and what tells where its secret got to.

    Attributes:
        engine: Builds.
        home: The user's.
        model: Name of a model.
        package: Needs `probe`, which only the company has.
    """

    engine: EngineCleaner
    home: Path
    model: str
    package: Path

    def build(self, client: docker.APIClient | None = None, **environ: str) -> Release:
        """Build the package; fail the test where the secret is in what is said or kept."""
        settings = way_to_engine(HOME=str(self.home), XDG_CONFIG_DIRS=str(self.home)) | environ
        progress = RecordedProgress()
        target = DockerTarget(client or self.engine.client, settings)
        try:
            release = target.build(plan_release(self.package), progress)
        except BuildError as exc:
            pytest.fail(f"{exc}\n{exc.details}")
        assert SECRET not in "".join(progress.details)
        assert SECRET not in self.engine.histories()
        assert SECRET not in json.dumps(self.engine.image_labels(release.reference))
        kept = b"".join(self.engine.files(release.reference, place) for place in PLACES)
        assert SECRET.encode() not in kept
        assert b"probe-1.0.dist-info" in kept
        return release


SECRET = "s3cret-word-of-a-company"


@pytest.fixture
def company(engine: EngineCleaner, target: DockerTarget, docker_model: str, tmp_path: Path) -> Company:
    """Give a company; the image of the server is there already."""
    package = build_tree(
        tmp_path / "package",
        {"config.yaml": f"model_name: {docker_model}\nrequirements_file: r.txt\n", "model/model.py": COUNT},
    )
    build(target, tmp_path / "plain", docker_model, COUNT)
    (tmp_path / "home").mkdir()
    # Each test builds the requirements for itself.
    make_wheel(tmp_path / "index/simple/probe", "probe", source=f"NAME = {docker_model!r}")
    (package / "r.txt").write_text(f"probe != 9.{int(docker_model[-6:], 16)}\n")
    return Company(engine, tmp_path / "home", docker_model, package)


def test_a_password_in_pips_file(company: Company, tmp_path: Path) -> None:
    """An index that pip.conf names is used, and its password is nowhere to be found."""
    host = company.engine.host_address()
    with serve_folder(tmp_path / "index", host, f"me:{SECRET}") as url:
        config = f"[global]\nindex-url = {url}/simple\ntrusted-host = {host}\n"
        build_tree(company.home, {".config/pip/pip.conf": config})
        company.build()


def test_a_password_in_netrc(company: Company, tmp_path: Path) -> None:
    """So is the login of an index that netrc knows."""
    host = company.engine.host_address()
    with serve_folder(tmp_path / "index", host, f"me:{SECRET}") as url:
        build_tree(company.home, {".netrc": f"machine {host} login me password {SECRET}\n"})
        (company.home / ".netrc").chmod(0o600)
        place = url.partition("@")[2]
        company.build(PIP_INDEX_URL=f"http://{place}/simple", PIP_TRUSTED_HOST=host)


@pytest.mark.parametrize(
    "path", [os.environ.get("PATH", os.defpath), "/nonexistent"], ids=["buildkit", "classic"]
)
def test_a_variable_in_a_requirement(company: Company, tmp_path: Path, path: str) -> None:
    """An installer puts its value there, on docker as on `local`; its name is all that is kept of it."""
    host = company.engine.host_address()
    with serve_folder(tmp_path / "index", host) as url:
        wheel = f"{url}/simple/probe/probe-1.0-py3-none-any.whl"
        (company.package / "r.txt").write_text(f"probe @ {wheel}?token=${{PROBE_TOKEN}}&user=literal-token\n")
        release = company.build(PATH=path, PROBE_TOKEN=SECRET)

    labels = company.engine.image_labels(release.reference)
    assert labels["truss.requirements"] == f"probe @ {wheel}?token=${{PROBE_TOKEN}}&user=****"
    lock = company.engine.files(release.reference, "/opt/model/requirements.lock")
    assert f"probe @ {wheel}?token=${{PROBE_TOKEN}}&user=literal-token" in lock.decode()


def test_certificates_of_a_company(company: Company, tmp_path: Path) -> None:
    """An index behind TLS that only the company's own bundle vouches for."""
    host = company.engine.host_address()
    certificate = make_certificate(tmp_path, host)
    with serve_folder(tmp_path / "index", host, certificate=certificate) as url:
        company.build(PIP_INDEX_URL=f"{url}/simple", REQUESTS_CA_BUNDLE=str(certificate))


def test_through_a_proxy(company: Company, tmp_path: Path) -> None:
    """An index that only the company's proxy reaches, which wants a password."""
    make_wheel(tmp_path / "proxy/http:/index.test/simple/probe", "probe")
    with serve_folder(tmp_path / "proxy", company.engine.host_address()) as url:
        proxy = url.replace("//", f"//me:{SECRET}@")
        company.build(
            PIP_INDEX_URL="http://index.test/simple", PIP_TRUSTED_HOST="index.test", http_proxy=proxy
        )


def test_a_build_without_a_network(company: Company, tmp_path: Path) -> None:
    """All of it, the server included, is installed from a folder of this machine."""
    house = make_wheel(tmp_path / "house", "probe").parent
    templates = files("truss_templates") / "docker"
    pins = [f"-r{templates / name}" for name in ("requirements.txt", "uv.txt")]
    options = ["--quiet", f"--dest={house}", "--python-version=3.11", "--only-binary=:all:"]
    download = [sys.executable, "-m", "pip", "download", *options, *pins]
    subprocess.run(download, check=True, timeout=300)
    base = f"{company.model}-base:1"
    (tmp_path / "base").mkdir()
    (tmp_path / "base/Dockerfile").write_text(f"FROM python:3.11-slim\nLABEL truss.model={company.model}\n")
    for event in company.engine.client.build(path=str(tmp_path / "base"), tag=base, rm=True, decode=True):
        assert "error" not in event, event
    build_tree(
        company.package,
        {
            "config.yaml": f"model_name: {company.model}\nrequirements_file: r.txt\nbase_image: {{image: '{base}'}}\n"
        },
    )

    with closing(CutOff(version="auto", base_url=with_address(os.environ)["DOCKER_HOST"])) as client:
        # Without Docker's command line on PATH it is the client that builds.
        company.build(client, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(house), PATH="/nowhere")


def test_files_of_requirements(target: DockerTarget, docker_model: str, tmp_path: Path) -> None:
    """A wheel of the package is installed, constraints bind, and the lock says what that came to."""
    package = build_tree(
        tmp_path,
        {
            "config.yaml": f"model_name: {docker_model}\nrequirements_file: deps/main.txt\n",
            "deps/main.txt": "-r more.txt\n-c pins.txt\n",
            "deps/more.txt": "wheels/ours-1.0-py3-none-any.whl\n./wheels/base-1.5-py3-none-any.whl\n",
            "deps/pins.txt": "base<2\n",
            "model/model.py": LOOK,
        },
    )
    make_wheel(package / "wheels", "ours", requires=("base",))
    make_wheel(package / "wheels", "base", "1.5")

    release = target.build(plan_release(package), RecordedProgress())
    seen = json.loads(predict(start(target, release), {}))

    assert seen["installed"] == ["base 1.5", "ours 1.0"]
    assert seen["lock"] == "./wheels/base-1.5-py3-none-any.whl\n./wheels/ours-1.0-py3-none-any.whl\n"
