"""Images on a real engine: what is in them, what is built again, and what a build leaves behind."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.engine import way_to_engine
from tests.fakes import RecordedProgress
from tests.file_server import serve_folder
from tests.harness import eventually
from tests.helpers import build_tree
from tests.integration.docker_models import COUNT, build, messages, predict, start
from tests.integration.test_docker_builders import base_id, no_buildkit
from tests.plans import make_plan
from tests.wheelhouse import SlowSource, make_wheel
from truss.errors import BuildError
from truss.images import plan_images
from truss.targets import docker_images
from truss.targets.buildkit import BuildKit
from truss.targets.docker import DockerTarget
from truss.targets.docker_build import ImageBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.engine import EngineCleaner

    Finds = Callable[[Mapping[str, str]], BuildKit | None]

pytestmark = [
    pytest.mark.docker,
    # The first test builds the server's image, which is slow on a busy machine.
    pytest.mark.timeout(600),
    # docker-py leaves the sockets of calls that are broken off to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PLACES = ("/app", "/etc", "/home", "/opt", "/root", "/tmp", "/var/tmp")
"""Where a build may leave something; the rest of an image is the base image's."""

LOOK_AROUND = """
import importlib.metadata, json, os, sys

class Model:
    def predict(self, request):
        print("asked for", request["name"])
        return {
            "installed": sorted(d.metadata["Name"] for d in importlib.metadata.distributions()),
            "variable": os.environ.get(request["name"]),
            "home": os.environ["HOME"],
            "uid": os.getuid(),
            "writable": [place for place in ("/app", "/opt/model", "/opt/truss", os.environ["HOME"], "/tmp")
                         if os.access(place, os.W_OK)],
        }
"""


@pytest.fixture
def index(engine: EngineCleaner, tmp_path: Path) -> str:
    """Give a folder of wheels a place for `simple` indexes."""
    make_wheel(tmp_path / "index/simple/probe", "probe", source="NAME = 'probe'")
    return str(tmp_path / "index")


def test_an_equal_plan_is_built_once(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """The second push of an unchanged package builds nothing and keeps the number."""
    first = build(target, tmp_path, docker_model, COUNT)
    progress = RecordedProgress()

    second = target.build(make_plan(tmp_path / "package", docker_model), progress)

    assert second == first
    assert progress.details == []
    assert engine.tags(docker_model) == [first.reference]


def test_an_edit_makes_the_next_release(target: DockerTarget, docker_model: str, tmp_path: Path) -> None:
    """An edit of the code adds the code and nothing else; going back finds the old release again."""
    first = build(target, tmp_path, docker_model, COUNT)
    (tmp_path / "package/model/model.py").write_text(COUNT + "\n# edited\n")
    progress = RecordedProgress()

    second = target.build(make_plan(tmp_path / "package", docker_model), progress)

    assert (first.number, second.number) == (1, 2)
    assert progress.details == ["add the code"]
    assert build(target, tmp_path, docker_model, COUNT) == first


def test_labels_say_what_an_image_is(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """Whatever the package's folder is called."""
    package = build_tree(tmp_path / 'it\'s a $HOME "folder"', {"model/model.py": COUNT})

    release = target.build(make_plan(package, docker_model), RecordedProgress())
    labels = engine.image_labels(release.reference)

    assert labels["truss.model"] == docker_model
    assert labels["truss.digest"] == release.digest
    assert labels["truss.release"] == "1"
    assert labels["truss.package"] == package.name


def test_the_models_environment_is_its_authors(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, index: str, tmp_path: Path
) -> None:
    """Only what was asked for is installed, nobody is root, and only home and /tmp can be written to."""
    with serve_folder(tmp_path / "index", engine.host_address()) as url:
        mine = DockerTarget(
            engine.client,
            way_to_engine(PIP_INDEX_URL=f"{url}/simple", PIP_TRUSTED_HOST=engine.host_address()),
        )
        build(target, tmp_path / "first", docker_model, COUNT)
        release = build(
            mine,
            tmp_path,
            docker_model,
            LOOK_AROUND,
            ("probe==1.0",),
            environment_variables={"GREETING": "hello = 'you'"},
        )
    candidate = start(target, release)

    seen = json.loads(predict(candidate, {"name": "GREETING"}))

    assert seen == {
        "installed": ["probe"],
        "variable": "hello = 'you'",
        "home": "/home/truss",
        "uid": 10001,
        "writable": ["/home/truss", "/tmp"],
    }
    # The answer may be faster than the engine's log.
    eventually(lambda: "asked for GREETING" in messages(target, candidate))


def test_settings_with_passwords_stay_out_of_images(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, index: str, tmp_path: Path
) -> None:
    """The password of an index gets the package, and is in no layer, label or history that is kept."""
    build(target, tmp_path / "first", docker_model, COUNT)
    before = engine.leftovers()
    secret = "s3cret-of-the-index"
    with serve_folder(tmp_path / "index", engine.host_address(), f"me:{secret}") as url:
        environ = way_to_engine(PIP_INDEX_URL=f"{url}/simple", PIP_TRUSTED_HOST=engine.host_address())
        release = build(DockerTarget(engine.client, environ), tmp_path, docker_model, COUNT, ("probe==1.0",))

    assert secret not in engine.histories()
    assert secret not in json.dumps(engine.image_labels(release.reference))
    assert b"probe-1.0.dist-info" in engine.files(release.reference, "/opt")
    assert all(secret.encode() not in engine.files(release.reference, place) for place in PLACES)
    assert engine.leftovers() == before


def test_a_requirement_that_does_not_resolve(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, index: str, tmp_path: Path
) -> None:
    """What uv said is shown, not what Docker says of it, and nothing is left."""
    build(target, tmp_path / "first", docker_model, COUNT)
    before = engine.leftovers()
    with serve_folder(tmp_path / "index", engine.host_address()) as url:
        environ = way_to_engine(
            PIP_INDEX_URL=f"{url}/simple",
            PIP_TRUSTED_HOST=engine.host_address(),
            PIP_EXTRA_INDEX_URL="file:///srv/my-index",
        )
        with pytest.raises(BuildError) as caught:
            build(DockerTarget(engine.client, environ), tmp_path, docker_model, COUNT, ("probe==7.0",))

    assert caught.value.message == "Docker could not install the requirements."
    assert "there is no version of probe==7.0" in caught.value.details
    assert "returned a non-zero code" not in caught.value.details
    assert "Not asked was file:///srv/my-index" in caught.value.hint
    assert engine.leftovers() == before


# An HTTP call that Ctrl-C ends leaves its socket to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_while_requirements_are_installed(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """The build ends with its container, and no half-made image stays."""
    build(target, tmp_path / "first", docker_model, COUNT)
    before = engine.leftovers()
    SlowSource(tmp_path / "index/simple/slow")

    def interrupt(line: str) -> None:
        if "slow" in line:
            raise KeyboardInterrupt

    with serve_folder(tmp_path / "index", engine.host_address()) as url:
        environ = way_to_engine(PIP_INDEX_URL=f"{url}/simple", PIP_TRUSTED_HOST=engine.host_address())
        package = build_tree(tmp_path / "package", {"model/model.py": COUNT})
        plan = make_plan(package, docker_model, ("slow==1.0",))
        with pytest.raises(KeyboardInterrupt):
            DockerTarget(engine.client, environ).build(plan, RecordedProgress(interrupt))

    assert engine.leftovers() == before


LACKING = {
    "$(which -a python3)": "has no python3: add python3 and python3-venv to system_packages",
    "/usr/lib/python3*/ensurepip /usr/local/lib/python3*/ensurepip": (
        "has no python3-venv: add it to system_packages"
    ),
}


@pytest.mark.parametrize("removed", LACKING)
def test_a_base_image_that_lacks_what_the_server_needs(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path, removed: str
) -> None:
    """One sentence says what is missing and where to put it."""
    base = f"{docker_model}-base:1"
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"FROM python:3.11-slim\nLABEL truss.model={docker_model}\nRUN rm -rf {removed}\n")
    for event in engine.client.build(path=str(tmp_path), tag=base, rm=True, decode=True):
        assert "error" not in event, event

    with pytest.raises(BuildError) as caught:
        build(target, tmp_path, docker_model, COUNT, base_image={"image": base})

    assert caught.value.message == f"Docker could not install uv on {base}."
    assert caught.value.details == f"{base} {LACKING[removed]}"


def test_a_base_image_that_is_nowhere(target: DockerTarget, docker_model: str, tmp_path: Path) -> None:
    """Nobody answers where this image is said to be."""
    with pytest.raises(BuildError) as caught:
        build(target, tmp_path, docker_model, COUNT, base_image={"image": "127.0.0.1:1/nobody/nothing:0"})

    expected = "The base image 127.0.0.1:1/nobody/nothing:0 is not on this engine and could not be pulled."
    assert caught.value.message == expected
    assert caught.value.details
    assert caught.value.hint


def test_build_commands_run_once_and_before_the_code(
    target: DockerTarget, docker_model: str, tmp_path: Path
) -> None:
    """They run in the model's environment, as root; an edit of the code does not run them again."""
    source = "class Model:\n    def predict(self, request):\n        return open('/opt/made').read()\n"
    commands = ["""python -c 'print("it\\x27s made")' > /opt/made""", "test ! -e /app/model"]
    first = build(target, tmp_path / "first", docker_model, source, build_commands=commands)

    assert predict(start(target, first), {}) == '"it\'s made\\n"'

    progress = RecordedProgress()
    package = build_tree(tmp_path / "second" / "package", {"config.yaml": "", "model/model.py": COUNT})
    target.build(make_plan(package, docker_model, build_commands=commands), progress)
    assert not any("run the build commands" in line or "/opt/made" in line for line in progress.details)


def test_a_build_command_that_fails(target: DockerTarget, docker_model: str, tmp_path: Path) -> None:
    """What it said is the error."""
    with pytest.raises(BuildError) as caught:
        build(target, tmp_path, docker_model, COUNT, build_commands=["echo no weights here; exit 3"])

    failed = "`echo no weights here; exit 3` ended with exit code 3."
    assert caught.value.message == f"Docker could not run the build commands: {failed}"
    assert "no weights here" in caught.value.details


@pytest.mark.parametrize("find", [BuildKit.find, no_buildkit])
def test_a_failed_step_shows_no_password(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path, find: Finds
) -> None:
    """Not even where it prints the proxy that it goes through."""
    build(target, tmp_path / "first", docker_model, COUNT)
    package = build_tree(tmp_path / "package", {"model/model.py": COUNT})
    plan = make_plan(package, docker_model, build_commands=["echo $https_proxy; exit 3"])
    image = next(one for one in plan_images(plan, base_id(target)) if one.kind == "commands")
    environ = {**os.environ, "ALL_PROXY": "http://me:s3cret-word@127.0.0.1:9"}

    with pytest.raises(BuildError) as caught:
        ImageBuilder(engine.client, environ, find).build(image, RecordedProgress(), {})

    assert "http://me:****@127.0.0.1:9" in caught.value.details


def test_builds_at_the_same_time_have_numbers_of_their_own(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """Whoever is second waits for the number after the first one's; the same code is one release."""
    build(target, tmp_path / "first", docker_model, COUNT)

    def one(edit: int) -> int:
        mine = DockerTarget.connect(os.environ)
        with closing(mine):
            return build(mine, tmp_path / str(edit), docker_model, f"{COUNT}# {edit % 3}\n").number

    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(one, range(4)))

    assert {2, 3, 4} == set(numbers)
    assert numbers[0] == numbers[3]


def test_what_a_build_uses_counts_as_used(
    target: DockerTarget,
    engine: EngineCleaner,
    docker_model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From its beginning on: the end of another push may be removing what nobody has used for a week."""

    def known(image: str) -> dict[str, Any]:
        found: dict[str, Any] = engine.client.inspect_image(image)  # type: ignore[no-untyped-call]
        return found

    release = build(target, tmp_path / "first", docker_model, COUNT)
    server = engine.image_labels(release.reference)["truss.parent"]
    before, left = known(server), engine.leftovers()
    monkeypatch.setattr(docker_images, "RECENT_SECONDS", 0.0)
    with pytest.raises(BuildError):
        build(target, tmp_path / "second", docker_model, COUNT, build_commands=["false"])
    after = known(server)

    assert after["Metadata"]["LastTagTime"] > before["Metadata"]["LastTagTime"]
    assert (after["Id"], after["RepoTags"]) == (before["Id"], before["RepoTags"])
    assert set(engine.leftovers()) <= set(left)


@pytest.mark.e2e
def test_system_packages_are_in_the_image(
    target: DockerTarget, engine: EngineCleaner, docker_model: str, tmp_path: Path
) -> None:
    """The server is installed on top of them, and the model finds them; slow, thus with `make e2e`."""
    source = "import shutil\n\nclass Model:\n    def predict(self, request):\n        return shutil.which('hello')\n"

    release = build(target, tmp_path, docker_model, source, system_packages=["hello"])

    assert predict(start(target, release), {}) == '"/usr/bin/hello"'
