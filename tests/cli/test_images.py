"""`truss.images`: which images a release is made of, and what makes each of them another one."""

from __future__ import annotations

import io
import tarfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import build_tree
from tests.plans import make_plan
from tests.wheelhouse import make_wheel
from truss.images import Image, plan_images
from truss.indexes import Indexes
from truss.stages import base_image

if TYPE_CHECKING:
    from truss.release import ReleasePlan

PACKAGE: dict[str, str | bytes] = {
    "config.yaml": "model_name: demo\n",
    "data/weights.bin": b"\1\2",
    "model/model.py": "class Model: ...\n",
    "packages/helper.py": "",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Give a package with something in each folder."""
    return build_tree(tmp_path / "demo", PACKAGE)


def kinds(images: tuple[Image, ...]) -> list[str]:
    """Return the names of images without their tags."""
    return [image.tag.partition(":")[0] for image in images]


def test_a_package_rebuilt_in_place_makes_another_environment(package: Path, tmp_path: Path) -> None:
    """Same name, same version, other code; the server and what no requirement asks for stay out of it."""
    house = tmp_path / "house"
    indexes = Indexes(folders=(house,))
    make_wheel(house, "tiny", source="WHO = 1")
    plan = make_plan(package, "demo", ("tiny==1.0",))
    before = {image.tag for image in plan_images(plan, "sha256:1", indexes)}

    make_wheel(house, "fastapi")
    assert before == {image.tag for image in plan_images(plan, "sha256:1", indexes)}

    make_wheel(house, "tiny", source="WHO = 2")
    after = plan_images(plan, "sha256:1", indexes)
    new = tuple(image for image in after if image.tag not in before)
    assert kinds(new) == ["truss-environment", "truss-data", "truss-packages", "truss/demo"]


def changed(before: ReleasePlan, after: ReleasePlan, base_id: str = "sha256:1") -> list[str]:
    """Return the kinds of images that another plan builds anew."""
    known = {image.tag for image in plan_images(before, "sha256:1")}
    return kinds(tuple(image for image in plan_images(after, base_id) if image.tag not in known))


def entries(image: Image) -> dict[str, bytes | None]:
    """Return what a build sees: files with their content, folders as None."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(image.context.tar()))) as tar:
        return {
            info.name: (tar.extractfile(info) or io.BytesIO()).read() if info.isfile() else None
            for info in tar
        }


def full(package: Path, **more: Any) -> ReleasePlan:
    """Return a plan that takes every image there is."""
    return make_plan(package, "demo", ("idna==3.10",), system_packages=["ffmpeg"], **more)


def test_a_plan_takes_the_images_it_needs(package: Path) -> None:
    """Nothing is built for what a package does not have."""
    plain = build_tree(package.parent / "plain", {"model/model.py": ""})

    assert kinds(plan_images(full(package), "sha256:1")) == [
        "truss-system",
        "truss-uv",
        "truss-server",
        "truss-environment",
        "truss-data",
        "truss-packages",
        "truss/demo",
    ]
    assert kinds(plan_images(make_plan(plain, "demo"), "sha256:1")) == [
        "truss-uv",
        "truss-server",
        "truss/demo",
    ]


def test_equal_plans_take_equal_images(package: Path) -> None:
    """A second plan of the same package finds all that the first one built."""
    assert changed(full(package), full(package)) == []


def test_an_edit_of_the_code_makes_one_image(package: Path) -> None:
    """Neither requirements nor data are touched."""
    before = full(package)
    (package / "model/model.py").write_text("class Model:\n    pass\n")

    assert changed(before, full(package)) == ["truss/demo"]


def test_new_data_leaves_the_environment_alone(package: Path) -> None:
    """Requirements come before data, and data before packages."""
    before = full(package)
    (package / "data/weights.bin").write_bytes(b"\3")
    with_data = full(package)
    (package / "packages/helper.py").write_text("HELPS = 2")

    assert changed(before, with_data) == ["truss-data", "truss-packages", "truss/demo"]
    assert changed(with_data, full(package)) == ["truss-packages", "truss/demo"]


def test_another_requirement_leaves_the_server_alone(package: Path) -> None:
    """The server is installed once for all models."""
    after = make_plan(package, "demo", ("idna==3.11",), system_packages=["ffmpeg"])

    assert changed(full(package), after) == [
        "truss-environment",
        "truss-data",
        "truss-packages",
        "truss/demo",
    ]


def test_models_share_the_server_and_the_environment(package: Path) -> None:
    """What has nothing to do with a model is not named after one."""
    other = make_plan(package, "other", ("idna==3.10",), system_packages=["ffmpeg"])

    assert changed(full(package), other) == ["truss/other"]


def test_a_newer_base_image_makes_everything_anew(package: Path) -> None:
    """The name of a base image stays while what is behind it changes."""
    assert len(changed(full(package), full(package), base_id="sha256:2")) == 7


def test_the_base_image_is_pythons_unless_another_is_named(package: Path) -> None:
    """The slim image of the configured version."""
    assert base_image(make_plan(package, "demo", python_version="py313")) == "python:3.13-slim"
    assert base_image(make_plan(package, "demo", base_image={"image": "cuda:12"})) == "cuda:12"


def test_the_server_is_the_installed_one(package: Path) -> None:
    """Byte for byte, all of it, and nothing that Python or an editor left there."""
    (server,) = [image for image in plan_images(full(package), "sha256:1") if "truss-server" in image.tag]
    installed = Path(str(files("truss_server")))
    sources = [path for path in installed.rglob("*") if path.is_file() and "__pycache__" not in path.parts]

    sent = {
        name: content for name, content in entries(server).items() if name.startswith("server/") and content
    }
    expected = {f"server/truss_server/{path.relative_to(installed)}": path.read_bytes() for path in sources}

    assert {name: content for name, content in expected.items() if content} == sent


def test_a_release_is_laid_out_as_the_server_expects_it(package: Path) -> None:
    """Code in one image, packages and data in those below; their folders are there even when they are empty."""
    build_tree(package / "lib", {"imported.py": ""})
    plan = make_plan(package, "demo", bundled_packages_dir="lib")
    data, packages, release = plan_images(plan, "sha256:1")[2:]

    assert {
        "Dockerfile",
        "release",
        "release/config.yaml",
        "release/data",
        "release/lib",
        "release/model",
        "release/model/model.py",
        "release/packages",
        "release/packages/helper.py",
        "release/release.json",
    } == set(entries(release))
    assert plan.manifest.to_json().encode() == entries(release)["release/release.json"]
    assert {"Dockerfile", "data", "data/data", "data/data/weights.bin"} == set(entries(data))
    assert {"Dockerfile", "packages", "packages/lib", "packages/lib/imported.py"} == set(entries(packages))


def test_requirements_are_the_plans(package: Path) -> None:
    """One a line, nothing of ours."""
    plan = make_plan(package, "demo", ("torch>=2", "idna==3.10"))
    (environment,) = [image for image in plan_images(plan, "sha256:1") if "truss-environment" in image.tag]

    assert entries(environment)["sources/requirements.txt"] == b"torch>=2\nidna==3.10\n"


def test_system_packages_are_words_and_no_shell(package: Path) -> None:
    """An entry may hold several names; none of them is read by the shell."""
    plan = make_plan(package, "demo", system_packages=["ffmpeg libsm6", "libssl*"])

    (command,) = plan_images(plan, "sha256:1")[0].commands

    assert "--no-install-recommends ffmpeg libsm6 'libssl*';" in command[-1]
