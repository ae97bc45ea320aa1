"""`truss list`, `logs` and `stop`, and how a command finds the deployment that is meant."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.fake_target import FakeMachine, FakeTarget, Script, log_line
from tests.harness import TRUSS, Outcome, run_truss
from tests.plans import make_plan
from truss.commands.list import format_table
from truss.console import PlainProgress
from truss.deps import Deps
from truss.errors import EngineError
from truss.scaffold import plan_scaffold, write_scaffold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from truss.release import Deployment


class Machine(FakeMachine):
    """A machine with two targets, on which a test deploys."""

    def __init__(self) -> None:
        self.local, self.docker = FakeTarget("local"), FakeTarget("docker")
        super().__init__(self.local, self.docker)

    def deploy(
        self, model: str, environment: str = "production", *, on: str = "local", script: Script | None = None
    ) -> Deployment:
        """Deploy a model without looking at it."""
        target = self.local if on == "local" else self.docker
        target.script = script or Script()
        plan = make_plan(Path(__file__).parent / "nothing", model)
        release = target.build(plan, PlainProgress(lambda _line: None))
        candidate = target.start(release, environment, port=None)
        target.promote(candidate)
        return candidate


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Give a machine."""
    machine = Machine()
    yield machine
    machine.local.close()
    machine.docker.close()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Give a package whose model is called falcon."""
    write_scaffold(plan_scaffold("basic", "falcon"), tmp_path / "package")
    return tmp_path / "package"


def run(machine: FakeMachine, *args: str, cwd: Path = Path("/")) -> Outcome:
    """Run `truss`; times are not compared."""
    outcome = run_truss(*args, deps=Deps(target=machine.target, cwd=cwd))
    return Outcome(outcome.stdout, re.sub(r"in [\d.]+ s\n", "in TIME\n", outcome.stderr), outcome.code)


def test_list_in_a_pipe(machine: Machine) -> None:
    """Programs get one line a deployment, newest first, without a head."""
    first = machine.deploy("falcon")
    second = machine.deploy("owl", "development")
    machine.local.crash(first)

    assert run(machine, "list") == Outcome(
        f"owl\tdevelopment\t1\tlocal\trunning\t{second.url}\t2026-01-02T03:06:05+00:00\n"
        f"falcon\tproduction\t1\tlocal\tstopped\t{first.url}\t2026-01-02T03:05:05+00:00\n"
    )


def test_list_json(machine: Machine) -> None:
    """`--output json` is a list of objects."""
    deployment = machine.deploy("falcon", on="docker")

    outcome = run(machine, "list", "--output", "json")

    assert json.loads(outcome.stdout) == [
        {
            "model": "falcon",
            "environment": "production",
            "release": 1,
            "target": "docker",
            "running": True,
            "url": deployment.url,
            "started": "2026-01-02T03:05:05+00:00",
            "id": "docker-1",
        }
    ]
    assert (outcome.stderr, outcome.code) == ("", 0)


def test_table(machine: Machine) -> None:
    """People get columns with a head and their own time."""
    deployment = machine.deploy("falcon")
    url, space = deployment.url, " " * (len(deployment.url) - 3)

    assert format_table(machine.local.deployments()) == (
        f"MODEL   ENVIRONMENT  RELEASE  TARGET  STATE    URL{space}  STARTED\n"
        f"falcon  production   1        local   running  {url}  {deployment.started.astimezone():%Y-%m-%d %H:%M}\n"
    )


def test_nothing_is_deployed(machine: Machine) -> None:
    """An empty list is nothing on stdout and a word on stderr; JSON stays JSON."""
    assert run(machine, "list") == Outcome(stderr="Nothing is deployed.\n")
    assert run(machine, "list", "--output", "json") == Outcome(stdout="[]\n")


def test_list_without_an_engine() -> None:
    """A target that does not answer is named where that may be why there is nothing."""
    local = FakeTarget("local")

    assert run(FakeMachine(local), "list") == Outcome(
        stderr="The target docker does not answer: No engine for docker answers.\nNothing is deployed.\n"
    )


@pytest.fixture
def broken_engine(machine: Machine) -> Deps:
    """Give a machine whose engine should be there and does not answer."""
    return Deps(target=FakeMachine(machine.local).target, environ={"DOCKER_HOST": "unix:///nonexistent.sock"})


SILENT = "The target docker does not answer: No engine for docker answers."


@pytest.mark.parametrize("output", ["text", "json"])
def test_list_where_the_engine_fails(output: str, machine: Machine, broken_engine: Deps) -> None:
    """An engine that should be there may run more than what is listed: that is said."""
    machine.deploy("falcon")

    outcome = run_truss("list", "--output", output, deps=broken_engine)

    assert "falcon" in outcome.stdout
    assert (outcome.stderr, outcome.code) == (f"{SILENT}\n", 0)


def test_stop_all_where_the_engine_fails(machine: Machine, broken_engine: Deps) -> None:
    """`stop --all` stops what it can, but is no success while there may be more."""
    machine.deploy("falcon")

    outcome = run_truss("stop", "--all", deps=broken_engine)

    assert outcome.stderr.endswith(f"error: {SILENT} What it runs was not stopped.\n\nhint: Start docker.\n")
    assert outcome.code == 6
    assert machine.local.deployments() == []


def test_without_any_engine(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no engine is installed, nothing is said of it."""
    monkeypatch.setattr("truss.lookup.ENGINE_SOCKET", Path("/nonexistent.sock"))
    machine.deploy("falcon")
    deps = Deps(target=FakeMachine(machine.local).target, environ={})

    assert run_truss("list", deps=deps).stderr == ""
    assert run_truss("stop", "--all", deps=deps).code == 0
    assert run_truss("stop", "--all", deps=deps) == Outcome(stderr="Nothing is deployed.\n")


def test_stop_goes_on(machine: Machine) -> None:
    """A deployment that cannot be stopped does not keep the others; each failure is told."""

    def fail(begun: str) -> None:
        if begun == "stop":
            raise EngineError("The engine went away.")

    machine.deploy("falcon", script=Script(on=fail))
    machine.deploy("owl")
    machine.deploy("hawk", script=Script(on=fail))

    outcome = run(machine, "stop", "--all")

    assert [one.model for one in machine.local.deployments()] == ["hawk", "falcon"]
    for model in ("hawk", "falcon"):
        assert (
            f"error: stop {model} release 1 in production on local failed: The engine went away.\n"
            in outcome.stderr
        )
    assert outcome.code == 6


def test_list_on_a_terminal() -> None:
    """The command itself, on a real terminal, with state of its own that is empty."""
    child = pexpect.spawn(
        TRUSS,
        ["list"],
        env={**os.environ, "DOCKER_HOST": "unix:///nonexistent.sock"},
        timeout=30,
        encoding="utf-8",
    )
    child.expect(pexpect.EOF)
    child.close()

    assert str(child.before).startswith("The target docker does not answer: ")
    assert str(child.before).endswith("\r\nNothing is deployed.\r\n")
    assert child.exitstatus == 0


LOG = (
    log_line("listening on 127.0.0.1", source="edge"),
    log_line("The \x1b[1mfalcon\x1b[0m is loaded"),
    "a line that is no JSON",
    log_line("predict failed", "ERROR", "edge", exc_info="Traceback\nValueError: x\n"),
)


def test_logs(machine: Machine, package: Path) -> None:
    """The model's lines are as it printed them, the server's have time and level, tracebacks follow."""
    machine.deploy("falcon", script=Script(log=LOG))

    assert run(machine, "logs", cwd=package) == Outcome(
        "03:04:05 INFO listening on 127.0.0.1\n"
        "The falcon is loaded\n"
        "a line that is no JSON\n"
        "03:04:05 ERROR predict failed\n"
        "Traceback\n"
        "ValueError: x\n"
    )


def test_logs_as_json(machine: Machine) -> None:
    """`--output json` is what the server wrote."""
    machine.deploy("falcon", script=Script(log=LOG))

    assert run(machine, "logs", "--model", "falcon", "--output", "json") == Outcome(
        "".join(f"{line}\n" for line in LOG)
    )


def test_logs_follow_to_the_end(machine: Machine) -> None:
    """`-f` ends by itself when the server does."""
    machine.deploy("falcon", script=Script(log=LOG[1:2], code=1))

    assert run(machine, "logs", "-f", "--model", "falcon") == Outcome("The falcon is loaded\n")


def test_logs_of_a_server_that_died(machine: Machine) -> None:
    """What runs comes first, but a dead deployment's log can be read too."""
    dead = machine.deploy("falcon", script=Script(log=LOG[1:2]))
    machine.local.crash(dead)

    assert run(machine, "logs", "--model", "falcon") == Outcome("The falcon is loaded\n")


def test_first_of_several(machine: Machine, package: Path) -> None:
    """Of several deployments production is taken, else the newest, and that is said."""
    machine.deploy("falcon", "staging", script=Script(log=("from staging",)))
    machine.deploy("falcon", "production", script=Script(log=("from production",)))
    machine.deploy("falcon", "development", script=Script(log=("from development",)))

    assert run(machine, "logs", cwd=package) == Outcome(
        "from production\n",
        "falcon is deployed 3 times: taking falcon release 1 in production on local.\n",
    )
    assert run(machine, "logs", "--environment", "staging", cwd=package) == Outcome("from staging\n")
    assert run(machine, "stop", "--environment", "production", cwd=package).code == 0
    assert run(machine, "logs", cwd=package).stdout == "from development\n"


def test_target_option(machine: Machine, package: Path) -> None:
    """`--target` chooses between two places of one environment, and is refused where it does not answer."""
    machine.deploy("falcon", on="docker", script=Script(log=("from docker",)))
    machine.deploy("falcon", on="local", script=Script(log=("from local",)))

    assert run(machine, "logs", "--target", "docker", cwd=package) == Outcome("from docker\n")
    assert run(machine, "predict", "-d", "{}", "--target", "docker", cwd=package).stderr.startswith(
        "error: The server answered 501"
    )
    assert run(machine, "stop", "--target", "docker", cwd=package).code == 0
    assert [one.target for one in (*machine.local.deployments(), *machine.docker.deployments())] == ["local"]
    assert run(machine, "logs", "--target", "docker", cwd=package) == Outcome(
        stderr="error: falcon is not deployed on docker.\n\nhint: `truss push --target docker` deploys it.\n",
        code=7,
    )
    only_local = FakeMachine(machine.local)
    assert run(only_local, "logs", "--target", "docker", cwd=package) == Outcome(
        stderr="error: No engine for docker answers.\n\nhint: Start docker.\n", code=6
    )
    assert run(machine, "stop", "--all", "--target", "local").code == 0
    assert machine.local.deployments() == []


def test_running_before_newest(machine: Machine, package: Path) -> None:
    """A newer deployment that died does not hide an older one that runs."""
    machine.deploy("falcon", "development", script=Script(log=("alive",)))
    machine.local.crash(machine.deploy("falcon", "production"))

    assert run(machine, "logs", cwd=package) == Outcome(
        "alive\n", "falcon is deployed 2 times: taking falcon release 1 in development on local.\n"
    )


def test_predict_finds_the_deployment(machine: Machine, package: Path) -> None:
    """`truss predict` in a package calls what runs of it: here a server that knows no predict."""
    machine.deploy("falcon", on="docker")

    outcome = run(machine, "predict", "-d", "{}", cwd=package)

    assert outcome.stderr.startswith("error: The server answered 501 Unsupported method ('POST').\n")
    assert outcome.stderr.endswith(
        "hint: `truss logs --model falcon --environment production` shows what happened.\n"
    )
    assert outcome.code == 8


def test_predict_where_nothing_runs(machine: Machine, package: Path) -> None:
    """A deployment that died is told apart from none."""
    machine.local.crash(machine.deploy("falcon", "staging"))
    said = (
        "error: falcon release 1 in staging on local is deployed but not running.\n"
        "\n"
        "hint: `truss logs --model falcon --environment staging` shows why"
    )

    assert run(machine, "predict", "-d", "{}", cwd=package) == Outcome(
        stderr=f"{said}; `truss push --environment staging --target local` starts it anew.\n", code=7
    )
    assert run(machine, "predict", "-d", "{}", "--model", "falcon") == Outcome(stderr=f"{said}.\n", code=7)


def test_not_deployed(package: Path) -> None:
    """Where there is nothing to call, the next command is named."""
    local = FakeTarget("local")

    assert run(FakeMachine(local), "predict", "-d", "{}", cwd=package) == Outcome(
        stderr=(
            "error: falcon is not deployed.\n"
            "The target docker does not answer: No engine for docker answers.\n"
            "\n"
            "hint: `truss push` deploys it.\n"
        ),
        code=7,
    )
    assert run(FakeMachine(local), "logs", "--environment", "staging", cwd=package).stderr.endswith(
        "hint: `truss push --environment staging` deploys it.\n"
    )
    assert run(FakeMachine(local), "stop", cwd=package).stderr.endswith(
        "hint: `truss list` shows what is deployed.\n"
    )


def test_other_models_are_deployed(machine: Machine, package: Path) -> None:
    """A name that is wrong is answered with those that are right; a push here would deploy another model."""
    machine.deploy("falcon")

    assert run(machine, "logs", "--model", "falcom", "--environment", "staging", cwd=package) == Outcome(
        stderr=(
            "error: falcom is not deployed in staging.\n"
            "Deployed are:\n"
            "  falcon release 1 in production on local\n"
            "\n"
            "hint: `truss list` shows what is deployed.\n"
        ),
        code=7,
    )


def test_stop(machine: Machine, package: Path) -> None:
    """`truss stop` stops every deployment of the model and no other."""
    machine.deploy("falcon", "production")
    machine.deploy("falcon", "development", on="docker")
    machine.deploy("owl")

    outcome = run(machine, "stop", cwd=package)

    assert outcome == Outcome(
        stderr=(
            "stop falcon release 1 in production on local ...\n"
            "stop falcon release 1 in production on local done in TIME\n"
            "stop falcon release 1 in development on docker ...\n"
            "stop falcon release 1 in development on docker done in TIME\n"
        )
    )
    assert [one.model for one in machine.local.deployments()] == ["owl"]


def test_stop_in_one_environment(machine: Machine) -> None:
    """`--environment` limits what is stopped."""
    machine.deploy("falcon", "production")
    machine.deploy("falcon", "development")

    assert run(machine, "stop", "--model", "falcon", "--environment", "development").code == 0
    assert [one.environment for one in machine.local.deployments()] == ["production"]


def test_stop_all(machine: Machine) -> None:
    """`--all` stops everything; once nothing is there it says so, and that is no error."""
    machine.deploy("falcon")
    machine.deploy("owl", on="docker")

    assert run(machine, "stop", "--all").code == 0
    assert machine.local.deployments() == machine.docker.deployments() == []
    assert run(machine, "stop", "--all") == Outcome(stderr="Nothing is deployed.\n")


def test_stop_all_and_one() -> None:
    """`--all` with a model would not say what is meant."""
    assert run(FakeMachine(), "stop", "--all", "--model", "falcon") == Outcome(
        stderr="error: --all takes no --model and no --environment.\n\nhint: Leave it out to stop one model.\n",
        code=2,
    )
