"""`truss.targets.buildkit`: what its output is taken for, and that no end leaves a process behind.

The builds themselves are in `tests/integration/test_docker_builders.py`; here a script says what BuildKit said.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from tests.fakes import RecordedProgress
from tests.harness import eventually
from truss.context import Context, Member
from truss.errors import BuildError
from truss.images import Image
from truss.pip_settings import pip_settings
from truss.release import FileChangedError, PackageFile
from truss.targets.buildkit import BuildKit

OLD = """\
#5 [2/3] RUN echo one
#5 0.301 one
#5 DONE 0.3s

#6 [3/3] RUN uv pip install
#6 0.392 Using Python 3.11.2 environment at: /opt/model
#6 0.528 Killed
#6 ERROR: executor failed running [/bin/sh -c uv pip install]: exit code: 137
------
 > [3/3] RUN uv pip install:
------
executor failed running [/bin/sh -c uv pip install]: exit code: 137
"""
NEW = OLD.replace(
    "executor failed running [/bin/sh -c uv pip install]: exit",
    'process "/bin/sh -c uv pip install" did not complete successfully: exit',
)


def docker_that(folder: Path, script: str, version: str = "exit") -> dict[str, str]:
    """Return an environment whose command line of Docker is a shell script.

    Args:
        folder: For the script.
        script: What it does to build.
        version: What it does when it is asked for the engine's version.
    """
    asked = f'if [ "$2" = --help ]; then echo --secret; exit; fi\nif [ "$1" = version ]; then {version}; fi\n'
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{asked}{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def buildkit_that(folder: Path, script: str) -> BuildKit:
    """Return BuildKit whose command line is a shell script."""
    found = BuildKit.find(docker_that(folder, script))
    assert found is not None
    return found


def test_a_command_line_that_the_engine_refuses(tmp_path: Path) -> None:
    """One that is too old for the engine is passed over: the engine itself builds then."""
    environ = {**docker_that(tmp_path, "exit", version="echo too old >&2; exit 1"), "PATH": str(tmp_path)}

    assert BuildKit.find(environ) is None


def image_of(*members: Member) -> Image:
    """Return an image to be built."""
    dockerfile = Member(PurePosixPath("Dockerfile"), b"FROM scratch\n")
    context = Context((dockerfile, *members))
    return Image("environment", "install the requirements", "truss-environment:1", context, installs=True)


@pytest.mark.parametrize("said", [OLD, NEW])
def test_a_step_that_is_killed(tmp_path: Path, said: str) -> None:
    """The lines are those of the step, the hint tells of memory; both ways of saying it are read."""
    (tmp_path / "said").write_text(said)
    buildkit = buildkit_that(tmp_path, f"cat >/dev/null; cat {tmp_path}/said >&2; exit 1")
    progress = RecordedProgress()

    with pytest.raises(BuildError) as caught:
        buildkit.build(image_of(), pip_settings({}), {}, progress, tmp_path)

    assert caught.value.message == "Docker could not install the requirements."
    assert caught.value.details == "Using Python 3.11.2 environment at: /opt/model\nKilled"
    assert caught.value.hint.startswith("The step was killed, most likely for want of memory")
    assert progress.details == ["one", "Using Python 3.11.2 environment at: /opt/model", "Killed"]


def test_a_last_line_without_its_end(tmp_path: Path) -> None:
    """What BuildKit appends to it is none of it."""
    (tmp_path / "said").write_text(
        "#5 0.182 fine\n#5 0.190 100 %#5 DONE 0.2s\n#6 0.1 see #5 DONE 0.2s, too\n"
    )
    buildkit = buildkit_that(tmp_path, f"cat >/dev/null; cat {tmp_path}/said >&2")
    progress = RecordedProgress()

    buildkit.build(image_of(), pip_settings({}), {}, progress, tmp_path)

    assert progress.details == ["fine", "100 %", "see #5 DONE 0.2s, too"]


@pytest.mark.parametrize(
    "error",
    [
        "executor failed running [{}]: exit code: 3",
        "process {:q} did not complete successfully: exit code: 3",
    ],
    ids=["old", "new"],
)
def test_the_command_that_failed(tmp_path: Path, error: str) -> None:
    """It is named as the user wrote it."""
    written = ("true", 'echo "caf\xe9"; exit 3', "exit 3")
    commands = tuple(("/bin/sh", "-ec", f"unset A; {one}") for one in written)
    words = " ".join(commands[1])
    quoted = words.replace('"', r"\"")
    shown = error.replace("{}", words).replace("{:q}", f'"{quoted}"')
    (tmp_path / "said").write_text(f"#5 ERROR: {shown}\n")
    buildkit = buildkit_that(tmp_path, f"cat >/dev/null; cat {tmp_path}/said >&2; exit 1")
    image = replace(image_of(), commands=commands, written=written)

    with pytest.raises(BuildError) as caught:
        buildkit.build(image, pip_settings({}), {}, RecordedProgress(), tmp_path)

    assert caught.value.message.endswith(': `echo "caf\xe9"; exit 3` (2 of 3) ended with exit code 3.')
    assert caught.value.details == ""


@pytest.mark.parametrize(
    ("written", "error", "message", "details"),
    [
        (
            ("true", "make"),
            "[{}]: cannot allocate memory",
            "`make` (2 of 2) failed.",
            "cannot allocate memory",
        ),
        (("make", "make"), "[{}]: exit code: 2", "`make` ended with exit code 2.", ""),
        (("a", "b\xa0c"), 'process "{}": exit code: 2', "`b c` (2 of 2) ended with exit code 2.", ""),
        (("a", "echo s3cret-word"), "[{}]: exit code: 2", "`echo ****` (2 of 2) ended with exit code 2.", ""),
    ],
    ids=["no exit code", "twice", "escaped", "secret"],
)
def test_commands_that_are_hard_to_tell(
    tmp_path: Path, written: tuple[str, ...], error: str, message: str, details: str
) -> None:
    """No number is said that may be another's, no code that there is none of, and no secret."""
    commands = tuple(("/bin/sh", "-ec", f"unset A; {one}") for one in written)
    words = " ".join(commands[1]).replace("\xa0", r"\u00a0")
    (tmp_path / "said").write_text(f"#5 ERROR: executor failed running {error.format(words)}\n")
    buildkit = buildkit_that(tmp_path, f"cat >/dev/null; cat {tmp_path}/said >&2; exit 1")
    image = replace(image_of(), commands=commands, written=written)
    settings = replace(pip_settings({}), secrets=frozenset({"s3cret-word"}))

    with pytest.raises(BuildError) as caught:
        buildkit.build(image, settings, {}, RecordedProgress(), tmp_path)

    assert caught.value.message.endswith(f": {message}")
    assert details in (caught.value.details or "")
    assert bool(caught.value.details) == bool(details)


def test_a_command_line_that_fails_by_itself(tmp_path: Path) -> None:
    """Without any step all that it said is shown."""
    buildkit = buildkit_that(tmp_path, "echo 'Cannot connect to the Docker daemon' >&2; exit 1")

    with pytest.raises(BuildError) as caught:
        buildkit.build(image_of(), pip_settings({}), {}, RecordedProgress(), tmp_path)

    assert caught.value.details == "Cannot connect to the Docker daemon"


def test_neither_settings_nor_proxies_are_arguments(tmp_path: Path) -> None:
    """The list of processes is for everybody to read; the settings' files are gone after the build."""
    buildkit = buildkit_that(
        tmp_path, f'cat >/dev/null; echo "$@" >{tmp_path}/args; echo "$HTTPS_PROXY" >{tmp_path}/proxy'
    )
    settings = pip_settings({"PIP_INDEX_URL": "https://me:s3cret@index.test/simple"})

    buildkit.build(image_of(), settings, {"HTTPS_PROXY": "http://me:pw@proxy"}, RecordedProgress(), tmp_path)

    arguments = (tmp_path / "args").read_text().split()
    sources = [word.partition("src=")[2] for word in arguments if "src=" in word]
    assert "--build-arg HTTPS_PROXY" in " ".join(arguments)
    assert not any("s3cret" in word or "pw" in word for word in arguments)
    assert (tmp_path / "proxy").read_text() == "http://me:pw@proxy\n"
    assert sources
    assert not any(Path(source).exists() for source in sources)


def test_what_is_only_copied_is_given_no_settings(tmp_path: Path) -> None:
    """The Dockerfile of such an image is the one for every builder."""
    buildkit = buildkit_that(tmp_path, f'cat >/dev/null; echo "$@" >{tmp_path}/args')
    settings = pip_settings({"PIP_INDEX_URL": "https://me:s3cret@index.test/simple"})

    buildkit.build(replace(image_of(), installs=False), settings, {}, RecordedProgress(), tmp_path)

    said = (tmp_path / "args").read_text().strip()
    assert said == "build --progress=plain --file Dockerfile --tag truss-environment:1 -"


def test_a_file_that_changed_ends_the_build(tmp_path: Path) -> None:
    """Half a context never becomes an image."""
    gone = PackageFile(PurePosixPath("w.whl"), tmp_path / "w.whl", executable=False, size=9, sha256="0")
    buildkit = buildkit_that(tmp_path, f"cat >/dev/null; touch {tmp_path}/built")

    with pytest.raises(FileChangedError):
        buildkit.build(
            image_of(Member(PurePosixPath("w.whl"), gone)), pip_settings({}), {}, RecordedProgress(), tmp_path
        )

    assert not (tmp_path / "built").exists()


def test_ctrl_c_ends_the_command_line(tmp_path: Path) -> None:
    """Also while most of the context is still to be sent."""
    buildkit = buildkit_that(tmp_path, f"echo $$ >{tmp_path}/pid; echo '#5 0.1 begun' >&2; exec sleep 600")

    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    large = Member(PurePosixPath("large"), bytes(10_000_000))
    with pytest.raises(KeyboardInterrupt):
        buildkit.build(image_of(large), pip_settings({}), {}, RecordedProgress(interrupt), tmp_path)

    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("error: No solution found when resolving dependencies", True),
        ("error: Failed to fetch: `http://index.test/simple/six/`", True),
        ("error: Failed to fetch: `http://index.test/six-1.0-py3-none-any.whl`", False),
        ("error: command 'gcc' failed", False),
    ],
)
def test_an_index_in_a_folder(tmp_path: Path, said: str, *, told: bool) -> None:
    """That no build sees it is told where a package was not found, and not where something else went wrong."""
    (tmp_path / "said").write_text(f"#6 0.392 {said}\n#6 ERROR: process did not complete: exit code: 1\n")
    buildkit = buildkit_that(tmp_path, f"cat >/dev/null; cat {tmp_path}/said >&2; exit 1")
    settings = pip_settings({"PIP_INDEX_URL": "file:///srv/simple"}, files=())

    with pytest.raises(BuildError) as caught:
        buildkit.build(image_of(), settings, {}, RecordedProgress(), tmp_path)

    assert ("is a folder of this machine" in caught.value.hint) == told
