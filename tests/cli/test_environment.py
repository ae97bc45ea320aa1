"""Environments of models, made by the real uv from packages that the tests make themselves."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uv

from tests.file_server import make_certificate, serve_folder
from tests.harness import eventually
from tests.helpers import build_tree
from tests.plans import make_file
from tests.wheelhouse import SlowSource, make_index, make_wheel
from truss import uv_run
from truss.environment import KEPT_SECONDS, MARKER, Wanted, model_python, prune_environments
from truss.errors import BuildError
from truss.state import is_held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

LIST = "import importlib.metadata as m, json; print(json.dumps(sorted(d.name for d in m.distributions())))"


@dataclass
class Lines:
    """Progress that keeps what it is told."""

    details: list[str] = field(default_factory=list)

    def step(self, name: str) -> AbstractContextManager[None]:
        """Enter a step; environments have none."""
        raise NotImplementedError

    def detail(self, line: str) -> None:
        """Keep a line."""
        self.details.append(line)

    def built(self, images: object) -> None:
        """Take no notice; nothing here makes images."""

    def note(self, line: str) -> None:
        """Keep a line."""
        self.details.append(line)


@dataclass
class Maker:
    """Makes environments in a folder of its own from a wheelhouse of its own."""

    folder: Path
    wheels: Path

    @property
    def environ(self) -> dict[str, str]:
        """An environment without network in which pip was told of the wheelhouse."""
        return {
            "HOME": os.environ["HOME"],
            "PATH": os.environ["PATH"],
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_NO_INDEX": "1",
            "UV_CACHE_DIR": str(self.folder.parent / "cache"),
            "UV_OFFLINE": "1",
        }

    def make(self, *requirements: str, python: str | None = None, said: Lines | None = None) -> Path:
        """Make an environment and return its interpreter."""
        return model_python(Wanted(requirements, python), self.folder, said or Lines(), self.environ)

    @property
    def made(self) -> list[str]:
        """Names of all folders of environments, complete or not."""
        return (
            sorted(path.name for path in self.folder.iterdir() if path.is_dir())
            if self.folder.exists()
            else []
        )


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    """Give a maker whose wheelhouse has `tiny`, and `needy`, which needs it."""
    wheels = tmp_path / "wheels"
    make_wheel(wheels, "tiny", source="answer = 42\n")
    make_wheel(wheels, "tiny", "2.0", source="answer = 43\n")
    make_wheel(wheels, "needy", requires=("tiny<2",))
    return Maker(tmp_path / "a home/envs", wheels)


def run(python: Path, code: str) -> str:
    """Run code in an environment and return what it prints."""
    return subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True, timeout=30, cwd="/"
    ).stdout.strip()


def test_nothing_required(maker: Maker) -> None:
    """A model without requirements runs in the interpreter that runs the tool, and nothing is made."""
    assert maker.make() == Path(sys.executable)
    assert maker.make(python=f"py3{sys.version_info.minor}") == Path(sys.executable)
    assert maker.made == []


def test_the_lock_beside_an_environment(maker: Maker, tmp_path: Path) -> None:
    """It says what was installed, however loosely that was asked for: constrained, and from a wheel of the package."""
    wheel = make_wheel(tmp_path / "package/wheels", "ours", requires=("tiny",))
    requirements = ("./wheels/ours-1.0-py3-none-any.whl", "needy")
    wanted = Wanted(requirements, None, ("tiny<2",), (make_file(tmp_path / "package", wheel),))

    python = model_python(wanted, maker.folder, Lines(), maker.environ)

    lock = python.parent.parent / "requirements.lock"
    assert lock.read_text() == "needy==1.0\n./wheels/ours-1.0-py3-none-any.whl\ntiny==1.0\n"


def test_other_wheels_and_constraints_make_another_environment(maker: Maker, tmp_path: Path) -> None:
    """A wheel that was built anew under its old name is installed."""
    made = []
    for source in ("answer = 1", "answer = 2"):
        wheel = make_wheel(tmp_path / "package", "ours", source=source)
        wanted = Wanted(("./ours-1.0-py3-none-any.whl",), None, (), (make_file(tmp_path / "package", wheel),))
        made.append(model_python(wanted, maker.folder, Lines(), maker.environ))

    assert [run(python, "import ours; print(ours.answer)") for python in made] == ["1", "2"]
    pinned = model_python(Wanted(("tiny",), None, ("tiny<2",)), maker.folder, Lines(), maker.environ)
    assert pinned != maker.make("tiny")


def test_a_package_that_was_rebuilt_in_its_folder(maker: Maker) -> None:
    """It is installed, though its name and version are what they were, and so is what a wheel of its requires."""
    before = maker.make("needy"), maker.make("tiny==2.0")
    make_wheel(maker.wheels, "tiny", source="answer = 'rebuilt'")

    after = maker.make("needy"), maker.make("tiny==2.0")

    said = [run(python, "import tiny; print(tiny.answer)") for python in (*before, *after)]
    assert said == ["42", "43", "rebuilt", "43"]
    assert before[0] != after[0]
    assert before[1] == after[1]


@dataclass
class Company:
    """A maker behind a company's firewall: its home, and an index that only its settings lead to."""

    maker: Maker
    home: Path

    def install(self, requirement: str, said: Lines, **environ: str) -> Path:
        """Make an environment with nothing of the wheelhouse but what an index has."""
        kept = {name: self.maker.environ[name] for name in ("PATH", "UV_CACHE_DIR")}
        return model_python(
            Wanted((requirement,), None),
            self.maker.folder,
            said,
            {**kept, "HOME": str(self.home), "XDG_CONFIG_DIRS": str(self.home), **environ},
        )


@pytest.fixture
def company(maker: Maker, tmp_path: Path) -> Company:
    """Give a company whose index has `tiny`."""
    build_tree(tmp_path / "home", {".config/pip/pip.conf": "[global]\n"})
    make_wheel(tmp_path / "index/simple/tiny", "tiny")
    return Company(maker, tmp_path / "home")


SECRET = "s3cret-word"


def leaks(folder: Path) -> list[Path]:
    """Return the files below a folder that hold the secret."""
    return [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_an_index_with_a_password_in_a_file(company: Company, tmp_path: Path) -> None:
    """It is used, and nowhere to be found: not in the environment, not in what is said, not in an error."""
    said = Lines()
    with serve_folder(tmp_path / "index", "127.0.0.1", f"me:{SECRET}") as url:
        config = f"[global]\nindex-url = {url}/simple\n"
        (company.home / ".config/pip/pip.conf").write_text(config)
        company.install("tiny", said)
        with pytest.raises(BuildError) as caught:
            company.install("tiny==7", said)

    assert leaks(company.maker.folder) == []
    assert SECRET not in "".join([*said.details, str(caught.value), caught.value.details, caught.value.hint])


def test_a_password_in_netrc(company: Company, tmp_path: Path) -> None:
    """An index whose URL has none is asked with the login of its host."""
    with serve_folder(tmp_path / "index", "127.0.0.1", f"me:{SECRET}") as url:
        host = url.partition("@")[2]
        netrc = company.home / ".netrc"
        netrc.write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
        netrc.chmod(0o600)
        company.install("tiny", Lines(), PIP_INDEX_URL=f"http://{host}/simple")

    assert leaks(company.maker.folder) == []


def test_certificates_of_a_company(company: Company, tmp_path: Path) -> None:
    """An index behind TLS that only the company's own bundle vouches for."""
    certificate = make_certificate(tmp_path, "127.0.0.1")
    with serve_folder(tmp_path / "index", "127.0.0.1", certificate=certificate) as url:
        with pytest.raises(BuildError):
            company.install("tiny", Lines(), PIP_INDEX_URL=f"{url}/simple", UV_HTTP_RETRIES="0")
        bundle = {"PIP_INDEX_URL": f"{url}/simple", "REQUESTS_CA_BUNDLE": str(certificate)}
        assert company.install("tiny", Lines(), **bundle).exists()


def test_through_a_proxy(company: Company, tmp_path: Path) -> None:
    """An index that only the company's proxy reaches."""
    make_wheel(tmp_path / "proxy/http:/index.test/simple/tiny", "tiny")
    with serve_folder(tmp_path / "proxy", "127.0.0.1") as url:
        proxy = url.replace("//", f"//me:{SECRET}@")
        python = company.install("tiny", Lines(), PIP_INDEX_URL="http://index.test/simple", HTTP_PROXY=proxy)

    assert python.exists()
    assert leaks(company.maker.folder) == []


SETTINGS = """
override-dependencies = ["tiny==2.0"]
constraint-dependencies = ["tiny==2.0"]
"""


def test_pins_are_what_the_package_says(maker: Maker, tmp_path: Path) -> None:
    """Neither variables nor files of the user's, nor those of a folder above, put other versions in their place."""
    build_tree(
        tmp_path,
        {
            "override.txt": "tiny==2.0\n",
            "home/.config/uv/uv.toml": SETTINGS,
            "a home/uv.toml": SETTINGS,
            "pyproject.toml": "[tool.uv]" + SETTINGS,
        },
    )
    override = str(tmp_path / "override.txt")
    names = ("UV_OVERRIDE", "UV_CONSTRAINT", "UV_EXCLUDE")
    environ = {**maker.environ, "HOME": str(tmp_path / "home"), **dict.fromkeys(names, override)}
    more = {"UV_EXCLUDE_NEWER": "2001-01-01", "UV_WORKING_DIR": str(tmp_path), "UV_TORCH_BACKEND": "cpu"}

    python = model_python(Wanted(("tiny==1.0",), None), maker.folder, Lines(), {**environ, **more})

    assert run(python, "import tiny; print(tiny.answer)") == "42"


def test_all_indexes_of_uv(company: Company, tmp_path: Path) -> None:
    """What only an index of a uv.toml has is found beside one that a variable names; proxies of the file lead there."""
    make_wheel(tmp_path / "other", "tiny")
    make_wheel(tmp_path / "proxy/http:/index.test/simple/needy", "needy", requires=("tiny",))
    with serve_folder(tmp_path / "proxy", "127.0.0.1") as proxy:
        text = f'http-proxy = "{proxy}"\n[[index]]\nurl = "http://index.test/simple"\n'
        build_tree(company.home, {".config/uv/uv.toml": text})
        other = make_index(tmp_path / "other")
        python = company.install("needy", Lines(), UV_INDEX=other, UV_DEFAULT_INDEX=other)

    assert json.loads(run(python, LIST)) == ["needy", "tiny"]


def test_holds_what_was_asked_for_and_nothing_else(maker: Maker) -> None:
    """The environment holds the requirements and what they need: no pip, nothing of ours."""
    said = Lines()

    python = maker.make("needy", said=said)

    assert json.loads(run(python, LIST)) == ["needy", "tiny"]
    assert run(python, "import tiny; print(tiny.answer)") == "42"
    assert (
        run(python, "import sys; print(sys.version_info[:2] == " + repr(tuple(sys.version_info[:2])) + ")")
        == "True"
    )
    assert " + tiny==1.0" in said.details


def test_made_once(maker: Maker) -> None:
    """The same requirements in another order are the same environment, which is not made again."""
    first = maker.make("needy", "tiny")
    (first.parent / "witness").touch()
    said = Lines()

    second = maker.make("tiny", "needy", said=said)

    assert second == first
    assert (first.parent / "witness").exists()
    assert said.details == []
    assert maker.make("tiny==2.0") != first
    assert len(maker.made) == 2


def test_old_ones_go(maker: Maker) -> None:
    """An environment that no release needs goes two weeks after it was wanted last; those in use stay."""
    used, old, wanted = maker.make("tiny==1.0"), maker.make("tiny==2.0"), maker.make("needy")
    now = time.time()
    for python in (used, old, wanted):
        os.utime(python.parents[1] / MARKER, (now - KEPT_SECONDS - 1,) * 2)
    maker.make("needy")

    prune_environments(maker.folder, {used.parents[1]}, now)

    assert [python.exists() for python in (used, old, wanted)] == [True, False, True]


@pytest.mark.parametrize("damage", ["marker", "python"])
def test_made_again_where_it_is_not_whole(maker: Maker, damage: str) -> None:
    """An environment that was left half made, or whose interpreter is gone, is made again."""
    python = maker.make("tiny")
    home = python.parent.parent
    (home / "witness").touch()
    (home / MARKER if damage == "marker" else python).unlink()

    assert maker.make("tiny") == python

    assert not (home / "witness").exists()
    assert run(python, "import tiny; print(tiny.answer)") == "43"


@pytest.mark.parametrize(
    ("requirement", "words"),
    [("missing==9", "missing"), ("tiny==9", "tiny==9"), ("tiny==", "tiny=="), ("needy\ntiny==2", "tiny<2")],
)
def test_requirements_that_do_not_resolve(maker: Maker, requirement: str, words: str) -> None:
    """The resolver's own words are in the error, and nothing half made is left."""
    with pytest.raises(BuildError) as caught:
        maker.make(*requirement.split("\n"))

    assert caught.value.exit_code == 4
    assert caught.value.message == "The requirements could not be installed."
    assert words in caught.value.details
    assert maker.made == []


def test_no_such_python(maker: Maker) -> None:
    """A version that is not on the machine is never downloaded; the error says where it was asked for."""
    environ = {**maker.environ, "PATH": "/nowhere", "HOME": str(maker.folder)}

    with pytest.raises(BuildError) as caught:
        model_python(Wanted((), "py39"), maker.folder, Lines(), environ)

    assert caught.value.message == "There is no Python 3.9 on this machine, which config.yaml asks for."
    assert caught.value.details == "Found: none."
    assert "--target docker" in caught.value.hint
    assert maker.made == []


def test_other_pythons_are_named(maker: Maker, tmp_path: Path) -> None:
    """Who wants a version that is missing sees those that are there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "python3").symlink_to(sys.executable)
    environ = {**maker.environ, "PATH": str(folder), "HOME": str(maker.folder)}
    missing = "py39" if sys.version_info[:2] != (3, 9) else "py310"

    with pytest.raises(BuildError) as caught:
        model_python(Wanted((), missing), maker.folder, Lines(), environ)

    assert caught.value.details == f"Found: {platform.python_version()} ({folder}/python3)."


def test_interpreter_that_is_broken(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that no environment can be made of is named."""
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with pytest.raises(BuildError) as caught:
        maker.make("tiny")

    assert caught.value.message == "No environment could be made of /bin/false."
    assert "/bin/false" in caught.value.details
    assert maker.made == []


def test_uv_that_is_missing(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without uv the error says how to get it."""

    def find_nothing() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(uv, "find_uv_bin", find_nothing)

    with pytest.raises(BuildError, match="uv is not installed") as caught:
        maker.make("tiny")

    assert "pip install uv" in caught.value.hint


def _others() -> Iterator[tuple[int, Path]]:
    for folder in [
        *map(Path, os.environ["PATH"].split(os.pathsep)),
        *Path.home().glob(".pyenv/versions/3.*/bin"),
    ]:
        for minor in range(9, 15):
            path = folder / f"python3.{minor}"
            if minor != sys.version_info.minor and path.exists():
                probe = subprocess.run([path, "-c", ""], check=False, capture_output=True, timeout=30)
                if probe.returncode == 0:
                    yield minor, path


def test_another_python(maker: Maker) -> None:
    """Another version that is on the machine is found, and is what the environment is made of."""
    other = next(_others(), None)
    if other is None:
        pytest.skip("there is only one Python on this machine")
    minor, _ = other

    empty = maker.make(python=f"py3{minor}")
    filled = maker.make("tiny", python=f"py3{minor}")

    assert json.loads(run(empty, LIST)) == []
    assert run(empty, "import sys; print(sys.version_info.minor)") == str(minor)
    assert run(filled, "import sys, tiny; print(sys.version_info.minor, tiny.answer)") == f"{minor} 43"


def test_two_at_once(maker: Maker) -> None:
    """Of two that want the same environment one makes it; the other says that it waits, and gets the same."""
    slow = SlowSource(maker.wheels)
    made: list[Path] = []
    first_said, second_said = Lines(), Lines()
    first = threading.Thread(target=lambda: made.append(maker.make("slow", said=first_said)))
    first.start()
    eventually(slow.started.exists, seconds=30)

    second = threading.Thread(target=lambda: made.append(maker.make("slow", said=second_said)))
    second.start()
    eventually(lambda: second_said.details)
    slow.go.touch()
    first.join(30)
    second.join(30)

    assert second_said.details == ["another push is making this environment; waiting for it"]
    assert len(made) == 2
    assert made[0] == made[1]
    assert json.loads(run(made[0], LIST)) == ["slow"]


SCRIPT = """\
import json, sys
from pathlib import Path
from tests.cli.test_environment import Lines
from truss.environment import Wanted, model_python
wanted, folder, environ = json.loads(sys.argv[1])
model_python(Wanted(tuple(wanted), None), Path(folder), Lines(), environ)
"""


def _in_a_process(maker: Maker, requirement: str) -> subprocess.Popen[bytes]:
    arguments = json.dumps([[requirement], str(maker.folder), maker.environ])
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, arguments], cwd=Path(__file__).parents[2], stderr=subprocess.PIPE
    )


def test_interrupt(maker: Maker) -> None:
    """Ctrl-C ends uv with all that it has started, and leaves nothing that could be taken for whole."""
    slow = SlowSource(maker.wheels)
    with _in_a_process(maker, "slow") as process:
        eventually(slow.started.exists, seconds=30)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)

    assert b"KeyboardInterrupt" in said
    eventually(lambda: not is_held(slow.held))
    assert maker.made == []


class Interrupted(Lines):
    """Progress that Ctrl-C meets while it is told something."""

    def detail(self, line: str) -> None:
        """Do as Ctrl-C does."""
        raise KeyboardInterrupt


def test_interrupt_while_uv_speaks(maker: Maker) -> None:
    """Whatever line of uv's Ctrl-C comes after, uv ends and nothing is left."""
    with pytest.raises(KeyboardInterrupt):
        maker.make("tiny", said=Interrupted())

    assert maker.made == []


def test_no_end(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installing has an end, after which nothing of it goes on, and the error says what it may be."""
    slow = SlowSource(maker.wheels)
    real = threading.Timer

    def once_it_builds(_seconds: float, kill: Callable[[], None]) -> threading.Timer:
        """Let the time be over when the build runs: how long uv takes to get there depends on the machine."""

        def wait_and_kill() -> None:
            eventually(slow.started.exists, seconds=30)
            kill()

        return real(0, wait_and_kill)

    monkeypatch.setattr(threading, "Timer", once_it_builds)
    monkeypatch.setattr(uv_run, "LIMIT", 60.0)

    with pytest.raises(BuildError) as caught:
        maker.make("slow")

    assert caught.value.message == "uv was killed."
    assert caught.value.hint.endswith("still at work after 1 minutes.")
    assert maker.made == []
    eventually(lambda: not is_held(slow.held))


def test_a_tool_that_was_killed(maker: Maker) -> None:
    """While the uv of a tool that was killed still works, nobody builds in the same place; then it is made anew."""
    slow = SlowSource(maker.wheels)
    with _in_a_process(maker, "slow") as process:
        eventually(slow.started.exists, seconds=30)
        process.kill()
        process.communicate(timeout=30)
    half_made = maker.made
    assert len(half_made) == 1
    said = Lines()
    made: list[Path] = []

    second = threading.Thread(target=lambda: made.append(maker.make("slow", said=said)))
    second.start()
    eventually(lambda: said.details)
    assert said.details == ["another push is making this environment; waiting for it"]
    slow.go.touch()
    second.join(60)

    assert len(made) == 1
    assert json.loads(run(made[0], LIST)) == ["slow"]
    assert maker.made == half_made


def test_a_variable_in_a_requirement(maker: Maker, tmp_path: Path) -> None:
    """Its value is not shown and not in the lock, which installs the same again; nothing is said of no constraints."""
    make_wheel(tmp_path / "site", "secret")
    said = Lines()
    with serve_folder(tmp_path / "site", "127.0.0.1") as url:
        line = f"secret @ {url}/secret-1.0-py3-none-any.whl?token=${{A_TOKEN}}"
        environ = {**maker.environ, "UV_OFFLINE": "0", "A_TOKEN": "t0ken-of-mine"}
        python = model_python(Wanted((line,), None), maker.folder, said, environ)

    assert "t0ken" not in "\n".join(said.details)
    assert not any("warning" in one for one in said.details)
    assert (python.parent.parent / "requirements.lock").read_text() == f"{line}\n"
