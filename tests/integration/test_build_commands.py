"""Build commands have the user's secrets and settings while they run, whichever builder there is, and leave none."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.engine import way_to_engine
from tests.fakes import RecordedProgress
from tests.file_server import make_certificate, serve_folder
from tests.helpers import build_tree
from tests.integration.docker_models import COUNT, build
from tests.integration.test_docker_builders import base_id, file_system, need_buildkit, no_buildkit
from tests.plans import make_plan
from tests.wheelhouse import make_wheel
from truss.errors import BuildError, EngineError, TrussError
from truss.images import plan_images
from truss.secrets import SecretStore
from truss.targets.buildkit import BuildKit
from truss.targets.docker import DockerTarget
from truss.targets.docker_build import ImageBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.engine import EngineCleaner
    from truss.images import Image

    Finds = Callable[[Mapping[str, str]], BuildKit | None]

pytestmark = [
    pytest.mark.docker,
    # The first test builds the server's image, which is slow on a busy machine.
    pytest.mark.timeout(600),
]

TOKEN = "t0ken-of-the-build"
KEY = "-----BEGIN KEY-----\nbGluZS1vbmU-secret\nbGluZS10d28-secret\n-----END KEY-----\n"

BUILDERS = pytest.mark.parametrize("find", [BuildKit.find, no_buildkit], ids=["buildkit", "classic"])


class Commands:
    """The image of build commands, as one builder makes it.

    Args:
        engine: Where.
        target: Has built what is below.
        model: Name of the model.
        folder: For files.
    """

    def __init__(self, engine: EngineCleaner, target: DockerTarget, model: str, folder: Path) -> None:
        self.progress = RecordedProgress()
        state = folder / 'state, "mine"'
        self.environ = way_to_engine(HOME=str(folder), TRUSS_HOME=str(state))
        self._engine, self._target, self._model, self._folder = engine, target, model, folder
        self.secrets = SecretStore.of(self.environ)

    def image(self, commands: list[str], **mapped: str) -> Image:
        """Return what to build."""
        package = build_tree(self._folder / "package", {"model/model.py": COUNT})
        build = {"secret_to_path_mapping": mapped}
        plan = make_plan(package, self._model, build_commands=commands, build=build)
        images = plan_images(plan, base_id(self._target))
        return next(one for one in images if one.kind == "commands")

    def build(self, find: Finds, image: Image, **environ: str) -> str:
        """Build it, and return its name."""
        builder = ImageBuilder(self._engine.client, {**self.environ, **environ}, find)
        try:
            builder.build(image, self.progress, {})
        except BuildError as exc:
            pytest.fail(f"{exc}\n{exc.details}")
        return image.tag

    def failure(self, find: Finds, image: Image) -> BuildError:
        """Build it, and return why that fails."""
        with pytest.raises(BuildError) as caught:
            ImageBuilder(self._engine.client, self.environ, find).build(image, self.progress, {})
        return caught.value


@pytest.fixture
def commands(
    engine: EngineCleaner, target: DockerTarget, docker_model: str, tmp_path: Path
) -> Iterator[Commands]:
    """Give what builds images, which are removed."""
    need_buildkit()
    build(target, tmp_path / "first", docker_model, COUNT)
    before = set(tags(engine))
    yield Commands(engine, target, docker_model, tmp_path)
    for tag in set(tags(engine)) - before:
        engine.client.remove_image(tag)


def tags(engine: EngineCleaner) -> list[str]:
    """Return the images of build commands that an engine has."""
    found = engine.client.images(name="truss-commands")
    return [tag for one in found for tag in one["RepoTags"] or ()]


def everything(engine: EngineCleaner, tag: str) -> bytes:
    """Return all that an image is: its layers, one by one, its configuration with its labels, and its history."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(engine.client.get_image(tag)))) as tar:
        files = [file.read() for info in tar if (file := tar.extractfile(info))]
    opened = [gzip.decompress(file) if file.startswith(b"\x1f\x8b") else file for file in files]
    said = [engine.client.inspect_image(tag), engine.client.history(tag)]  # type: ignore[no-untyped-call]
    return b"\0".join([*opened, json.dumps(said).encode()])


def read_file(engine: EngineCleaner, tag: str, path: str) -> str:
    """Return the text of a file of an image."""
    container = engine.client.create_container(tag)["Id"]
    try:
        pieces, _ = engine.client.get_archive(container, path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
            file = tar.extractfile(path.rpartition("/")[2])
            return file.read().decode() if file else ""
    finally:
        engine.client.remove_container(container, v=True)


@BUILDERS
def test_a_command_reads_a_secret_that_is_nowhere_afterwards(
    commands: Commands, engine: EngineCleaner, find: Finds
) -> None:
    """It is no part of a layer, a label, the history or what is shown, whatever the command prints."""
    commands.secrets.set("token", TOKEN)
    commands.secrets.set("netrc", KEY)
    image = commands.image(
        ["wc -c </root/new/folder/token >/opt/size", "cat /root/new/folder/token /etc/key; cat /etc/key >&2"],
        token="/root/new/folder/token",
        netrc="/etc/key",
    )

    tag = commands.build(find, image)

    files = file_system(engine, tag)
    assert "opt/size" in files
    assert not {"root/new/folder/token", "etc/key"} & files.keys()
    assert any("****" in line for line in commands.progress.details)
    kept = everything(engine, tag)
    for secret in (TOKEN, *KEY.splitlines()):
        assert secret.encode() not in kept
        assert secret not in "\n".join(commands.progress.details)
    assert engine.client.containers(all=True, filters={"ancestor": image.parent}) == []


@BUILDERS
def test_what_a_command_meets(commands: Commands, engine: EngineCleaner, find: Finds) -> None:
    """A secret that any user may read, nothing of the build in the environment, a home that becomes the model's.

    An empty file of the base image stays, though a secret was mounted upon it.
    """
    commands.secrets.set("token", TOKEN)
    image = commands.image(
        [
            "stat -c %a /token >/opt/mode; env >/opt/environment; test -s /etc/.pwd.lock",
            "mkdir -p ~/.cache/mine",
        ],
        token="/token",
        of_the_base="/etc/.pwd.lock",
    )
    commands.secrets.set("of_the_base", TOKEN)

    tag = commands.build(find, image)

    assert "etc/.pwd.lock" in file_system(engine, tag)
    assert read_file(engine, tag, "/opt/mode") == "444\n"
    assert "TRUSS_BUILD" not in read_file(engine, tag, "/opt/environment")
    with tarfile.open(fileobj=io.BytesIO(engine.files(tag, "/home/truss/.cache"))) as home:
        assert {(entry.uid, entry.gid) for entry in home} == {(10001, 10001)}


def test_both_builders_make_the_same_of_commands(commands: Commands, engine: EngineCleaner) -> None:
    """Files, what was there before, user, variables, labels and what the image does."""
    commands.secrets.set("token", TOKEN)
    image = commands.image(
        [
            "mkdir /root/made && tr a-z A-Z </root/token >/root/made/x",
            "rm /root/.profile; id -u >/opt/id",
        ],
        token="/root/token",
        users="/etc/passwd",
    )
    commands.secrets.set("users", "root:x:0:0::/root:/bin/sh\n")

    seen = []
    for find in (BuildKit.find, no_buildkit):
        tag = commands.build(find, image, ALL_PROXY="http://127.0.0.1:9")
        config = engine.client.inspect_image(tag)["Config"]  # type: ignore[no-untyped-call]
        del config["Labels"]["truss.build"]
        kept = {key: config.get(key) for key in ("User", "Env", "Labels", "Entrypoint", "Cmd", "WorkingDir")}
        seen.append((file_system(engine, tag), kept, config["Healthcheck"], config["StopSignal"]))
        engine.client.remove_image(tag)

    (first, *others), (second, *same) = seen
    assert {name for name in {**first, **second} if first.get(name) != second.get(name)} == set()
    assert "root/made/x" in first
    assert others == same


@BUILDERS
def test_pip_in_a_build_command(
    commands: Commands, engine: EngineCleaner, tmp_path: Path, find: Finds
) -> None:
    """It installs into the model's environment, from the user's index, of whose password nothing stays."""
    secret, host = "s3cret-of-the-index", engine.host_address()
    make_wheel(tmp_path / "index/simple/probe", "probe", source="NAME = 'probe'")
    certificate = make_certificate(tmp_path, host)
    image = commands.image(["pip install probe"])
    with serve_folder(tmp_path / "index", host, f"me:{secret}", certificate) as url:
        settings = {"PIP_INDEX_URL": f"{url}/simple", "REQUESTS_CA_BUNDLE": str(certificate)}
        tag = commands.build(find, image, **settings)

    assert any(name.endswith("probe-1.0.dist-info/METADATA") for name in file_system(engine, tag))
    kept = everything(engine, tag)
    assert secret.encode() not in kept
    assert certificate.read_bytes().splitlines()[1] not in kept


@BUILDERS
def test_tools_trust_the_users_certificates(
    commands: Commands, engine: EngineCleaner, tmp_path: Path, find: Finds
) -> None:
    """A download by whatever heeds the usual variables works behind a company's authority, as pip does."""
    host = engine.host_address()
    build_tree(tmp_path / "files", {"weights.txt": "heavy"})
    certificate = make_certificate(tmp_path, host)
    get = "from urllib.request import urlopen as u; import sys; print(u(sys.argv[1]).read())"
    with serve_folder(tmp_path / "files", host, certificate=certificate) as url:
        asked = [f'python -c "{get}" {url}/weights.txt', "env | grep -c certificates.pem"]
        commands.build(find, commands.image(asked), REQUESTS_CA_BUNDLE=str(certificate))

    assert "b'heavy'" in commands.progress.details
    assert "5" in commands.progress.details


@BUILDERS
def test_a_command_that_fails_with_a_secret(commands: Commands, engine: EngineCleaner, find: Finds) -> None:
    """Its error shows what it said, without the secret, and nothing is left of it."""
    commands.secrets.set("token", TOKEN)
    before = set(engine.leftovers())
    failing = "echo fine; cat /token; exit 3"
    image = commands.image(["true", failing, "echo never"], token="/token")

    error = commands.failure(find, image)

    said = "Docker could not run the build commands"
    assert error.message == f"{said}: `{failing}` (2 of 3) ended with exit code 3."
    assert error.details == "fine\n****"
    assert set(engine.leftovers()) <= before


@BUILDERS
@pytest.mark.parametrize("command", ["exit 3", """test "a" = 'b' || exit 3""", "false \\\n  || exit 3"])
def test_a_command_that_fails_silently(commands: Commands, find: Finds, command: str) -> None:
    """What it was is said, and nothing of what truss puts around it, or of another one."""
    error = commands.failure(find, commands.image(["echo one", command]))

    assert error.message.startswith("Docker could not run the build commands: `")
    assert error.message.endswith("exit 3` (2 of 2) ended with exit code 3.")
    assert error.details == ""


@BUILDERS
def test_a_command_that_needs_what_is_not_there(commands: Commands, find: Finds) -> None:
    """What many write in Dockerfiles is answered with what works here, which it does."""
    error = commands.failure(find, commands.image(["python -m pip install ./nothing"]))

    assert "No module named pip" in error.details
    assert error.hint.startswith("Write `pip install ...`")


def test_a_command_that_hangs(
    commands: Commands, engine: EngineCleaner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that says nothing for too long is ended, and its container goes."""
    monkeypatch.setattr("truss.targets.docker_commands.SILENCE_LIMIT_SECONDS", 2)
    image = commands.image(["echo one; sleep 1; echo two; sleep 600"])

    with pytest.raises(EngineError, match=r"The build said nothing for 0 minutes\."):
        ImageBuilder(engine.client, commands.environ, no_buildkit).build(image, commands.progress, {})

    assert commands.progress.details[1:] == ["one", "two"]
    assert engine.client.containers(all=True, filters={"ancestor": image.parent}) == []


def test_a_secret_that_is_not_set(commands: Commands, docker_model: str, tmp_path: Path) -> None:
    """It is said before anything is built, and an image that is there needs none."""
    target = DockerTarget.connect(commands.environ)
    package = build_tree(tmp_path / "package", {"model/model.py": COUNT})
    plan = make_plan(
        package,
        docker_model,
        build_commands=["cat /a"],
        build={"secret_to_path_mapping": {"a": "/a", "b": "/b", "c": "/c"}},
    )
    commands.secrets.set("b", TOKEN)
    progress = RecordedProgress()

    with pytest.raises(TrussError) as caught:
        target.build(plan, progress)

    assert caught.value.message == "The secrets a, c, which `build_commands` read, are not set."
    assert caught.value.hint == "`truss secrets set a`; `truss secrets set c`"
    assert caught.value.exit_code == 4
    assert progress.details == []
    for name in ("a", "c"):
        commands.secrets.set(name, TOKEN)
    first = target.build(plan, progress)
    commands.secrets.remove("a")
    assert target.build(plan, progress) == first
