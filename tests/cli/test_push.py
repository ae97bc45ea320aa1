"""`truss push` on a target that is honest and quick: its steps, its output, and what it leaves when it fails."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fake_target import FakeClock, FakeMachine, FakeTarget, Script, log_line
from tests.harness import Outcome, run_truss
from truss.console import Console
from truss.deps import Deps
from truss.errors import EngineError
from truss.scaffold import plan_scaffold, write_scaffold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from truss.release import Deployment


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Give a package whose model is called falcon."""
    write_scaffold(plan_scaffold("basic", "falcon"), tmp_path / "falcon")
    return tmp_path / "falcon"


@pytest.fixture
def local() -> Iterator[FakeTarget]:
    """Give a target."""
    target = FakeTarget("local")
    yield target
    target.close()


def push(cwd: Path, *args: str, machine: FakeMachine) -> Outcome:
    """Run `truss push`; times and ports are not compared."""
    deps = Deps(target=machine.target, cwd=cwd, clock=FakeClock())
    outcome = run_truss("push", *args, deps=deps)
    return Outcome(
        re.sub(r"127\.0\.0\.1:\d+", "HOST", outcome.stdout),
        re.sub(r"(in|after) [\d.]+ s$", r"\1 TIME", outcome.stderr, flags=re.MULTILINE),
        outcome.code,
    )


BEGIN = """\
load config ...
load config done in TIME
plan ...
plan done in TIME
"""

UNTIL_STARTED = f"""\
{BEGIN}build ...
  made a build of falcon
build done in TIME
start ...
start done in TIME
wait until ready ...
"""

READY = """\
wait until ready done in TIME
promote ...
promote done in TIME
"""

ANSWERS = """\
falcon release 1 answers at http://HOST (production on local).

  call   truss predict -d '{"prompt": "Hello"}'
         curl -N http://HOST/predict -H 'content-type: application/json' -d '{"prompt": "Hello"}'
  logs   truss logs -f
  stop   truss stop
"""


def test_push(package: Path, local: FakeTarget) -> None:
    """Each step is told, the model's own lines in between, and at the end how to call, see and stop it."""
    local.script = Script(
        log=(
            log_line("loading 1/2\rloading 2/2"),
            log_line("listening", source="edge"),
            log_line("slow disk", "WARNING", "worker"),
        )
    )

    outcome = push(package, "--target", "local", machine=FakeMachine(local))

    assert outcome == Outcome(ANSWERS, UNTIL_STARTED + "  loading 2/2\n  slow disk\n" + READY)
    assert local.candidates == []
    assert [(one.model, one.environment, one.release) for one in local.deployments()] == [
        ("falcon", "production", 1)
    ]


def test_push_json(package: Path, local: FakeTarget) -> None:
    """`--output json` prints one object; the talk stays on stderr."""
    outcome = push(package, "--target", "local", "--output", "json", machine=FakeMachine(local))

    assert json.loads(outcome.stdout) == {
        "model": "falcon",
        "environment": "production",
        "release": 1,
        "target": "local",
        "url": "http://HOST",
        "digest": local.builds[0].manifest.digest,
    }
    assert (outcome.stdout.count("\n"), outcome.stderr, outcome.code) == (1, UNTIL_STARTED + READY, 0)


def test_push_from_elsewhere(package: Path, local: FakeTarget) -> None:
    """What is printed can be typed where the user is: the model is named, and the environment."""
    outcome = push(
        package.parent, "falcon", "--target", "local", "--environment", "staging", machine=FakeMachine(local)
    )

    assert outcome.stdout == (
        "falcon release 1 answers at http://HOST (staging on local).\n"
        "\n"
        '  call   truss predict --model falcon --environment staging -d \'{"prompt": "Hello"}\'\n'
        "         curl -N http://HOST/predict -H 'content-type: application/json' -d '{\"prompt\": \"Hello\"}'\n"
        "  logs   truss logs -f --model falcon --environment staging\n"
        "  stop   truss stop --model falcon --environment staging\n"
    )


def test_second_push_replaces_the_first(package: Path, local: FakeTarget) -> None:
    """One environment holds one deployment, and an unchanged package keeps its release."""
    machine = FakeMachine(local)

    assert push(package, "--target", "local", machine=machine) == push(
        package, "--target", "local", machine=machine
    )
    assert [one.id for one in local.deployments()] == ["local-2"]


def test_takes_docker_where_it_answers(package: Path, local: FakeTarget) -> None:
    """With both targets there, docker is taken without a word."""
    docker = FakeTarget("docker")

    outcome = push(package, machine=FakeMachine(local, docker))
    docker.close()

    assert outcome == Outcome(ANSWERS.replace("on local", "on docker"), UNTIL_STARTED + READY)


def test_takes_local_where_docker_does_not_answer(package: Path, local: FakeTarget) -> None:
    """Without an engine the local target is taken, and one line says so and why."""
    outcome = push(package, machine=FakeMachine(local))

    note = "Taking the target local, because docker cannot be used: No engine for docker answers.\n"
    assert outcome == Outcome(ANSWERS, UNTIL_STARTED.replace("build ...", f"{note}build ...") + READY)


def test_wanted_target_does_not_answer(package: Path, local: FakeTarget) -> None:
    """A target that was asked for is not replaced by another."""
    outcome = push(package, "--target", "docker", machine=FakeMachine(local))

    assert outcome == Outcome(
        stderr=f"{BEGIN}error: No engine for docker answers.\n\nhint: Start docker.\n", code=6
    )


def test_load_fails(package: Path, local: FakeTarget) -> None:
    """A model whose load raises: the step, the author's traceback, and nothing left running."""
    trace = 'Traceback (most recent call last):\n  File "model/model.py", line 9, in load\nValueError: no weights\n'
    local.script = Script(
        log=(
            log_line("loading"),
            log_line(
                "the model could not be loaded: ValueError: no weights", "ERROR", "worker", exc_info=trace
            ),
            log_line("stopping", source="edge"),
        ),
        code=3,
    )

    outcome = push(package, "--target", "local", machine=FakeMachine(local))

    assert outcome == Outcome(
        stderr=(
            f"{UNTIL_STARTED}  loading\n"
            "  the model could not be loaded: ValueError: no weights\n"
            "wait until ready failed after TIME\n"
            "error: wait until ready failed: The model could not be loaded: ValueError: no weights\n"
            f"{trace}"
            "\n"
            "hint: Correct it and push again.\n"
        ),
        code=5,
    )
    assert local.candidates == local.deployments() == []


def test_failed_push_leaves_what_ran(package: Path, local: FakeTarget) -> None:
    """A push that fails does not touch the deployment that it would have replaced."""
    machine = FakeMachine(local)
    push(package, "--target", "local", machine=machine)
    before = local.deployments()
    local.script = Script(code=3)

    failed = push(package, "--target", "local", machine=machine)

    assert failed.stderr.endswith("\n\nhint: Correct it and push again. What ran before runs on.\n")
    assert failed.code == 5
    assert local.deployments() == before
    elsewhere = push(package, "--target", "local", "--environment", "staging", machine=machine)
    assert elsewhere.stderr.endswith("\n\nhint: Correct it and push again.\n")


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ("ModuleNotFoundError: No module named 'numpyy'", "numpyy"),
        ("ModuleNotFoundError: No module named 'numpyy.linalg'", "numpyy"),
        ("ImportError: cannot import name 'array' from 'numpyy.core' (/somewhere)", "numpyy"),
    ],
)
def test_import_fails(error: str, name: str, package: Path, local: FakeTarget) -> None:
    """Where a module is missing, the hint says where it may come from."""
    trace = f'Traceback (most recent call last):\n  File "model/model.py", line 1, in <module>\n{error}\n'
    told = log_line(f"the model could not be loaded: {error}", "ERROR", "worker", exc_info=trace)
    local.script = Script(log=(told,), code=3)

    outcome = push(package, "--target", "local", machine=FakeMachine(local))

    assert outcome.stderr.endswith(
        f"{trace}\n"
        f"hint: If `{name}` is a package from PyPI, add it to `requirements` in config.yaml; "
        "code of yours belongs in packages/.\n"
    )


def test_not_ready_after_an_error(package: Path, local: FakeTarget) -> None:
    """Where the server warned of something, the error says that instead of a guess, however much came after it."""
    trouble = log_line("load() failed, trying again: OSError: no disk", "WARNING", "worker")
    local.script = Script(log=(trouble, *["GET /ready 503"] * 30), loads_forever=True)

    outcome = push(
        package, "--target", "local", "--timeout", "20", "--output", "json", machine=FakeMachine(local)
    )

    error = json.loads(outcome.stdout)["error"]
    assert (
        error["message"]
        == "The model was not ready after 20 s: load() failed, trying again: OSError: no disk"
    )


def test_error_as_json(package: Path, local: FakeTarget) -> None:
    """With `--output json` a failure is one object on stdout, with its step and exit code."""
    local.script = Script(log=("Killed",), code=4)

    outcome = push(package, "--target", "local", "--output", "json", machine=FakeMachine(local))

    assert json.loads(outcome.stdout) == {
        "error": {
            "message": "The server ended with exit code 4.",
            "step": "wait until ready",
            "details": "Killed",
            "problems": [],
            "hint": "Correct it and push again.",
            "exit_code": 5,
        }
    }
    assert outcome.stderr == UNTIL_STARTED + "  Killed\nwait until ready failed after TIME\n"
    assert outcome.code == 5


def test_worker_dies_without_a_traceback(package: Path, local: FakeTarget) -> None:
    """A crash without an exception is told in the server's words; the end of the log was just shown."""
    local.script = Script(
        log=(
            log_line("loading"),
            log_line("giving up: the model's process was ended by SIGSEGV", "ERROR", "edge"),
        ),
        code=4,
    )

    outcome = push(package, "--target", "local", machine=FakeMachine(local))

    assert outcome.stderr.endswith(
        "error: wait until ready failed: Giving up: the model's process was ended by SIGSEGV\n"
        "\n"
        "hint: Correct it and push again.\n"
    )


def test_not_ready_in_time(package: Path, local: FakeTarget) -> None:
    """A model that loads for too long is given up, with the last it said."""
    local.script = Script(log=(log_line("still loading"),), loads_forever=True)

    outcome = push(package, "--target", "local", "--timeout", "20", machine=FakeMachine(local))

    assert outcome == Outcome(
        stderr=(
            f"{UNTIL_STARTED}  still loading\n"
            "wait until ready failed after TIME\n"
            "error: wait until ready failed: The model was not ready after 20 s. "
            "`load()` of model/model.py, or what the file does when imported, is still running.\n"
            "\n"
            "hint: --timeout SECONDS waits longer.\n"
        ),
        code=5,
    )
    assert local.candidates == []


def test_not_ready_and_the_model_warns(package: Path, local: FakeTarget) -> None:
    """A warning that the model's own code logged does not take the place of what it was waited for."""
    warned = log_line("a library is old", "WARNING", "model")
    local.script = Script(log=(warned,), loads_forever=True)

    outcome = push(package, "--target", "local", "--timeout", "20", machine=FakeMachine(local))

    assert (
        "`load()` of model/model.py, or what the file does when imported, is still running." in outcome.stderr
    )


def test_port_is_taken(package: Path, local: FakeTarget) -> None:
    """An error of the start names its step."""
    outcome = push(package, "--target", "local", "--port", "80", machine=FakeMachine(local))

    assert outcome.stderr.endswith("start failed after TIME\nerror: start failed: Port 80 is taken.\n")
    assert outcome.code == 6


def test_port_is_taken_already(package: Path, local: FakeTarget) -> None:
    """That is said before anything is built; the deployment that a push replaces makes room for it."""
    machine = FakeMachine(local)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        outcome = push(package, "--target", "local", "--port", str(port), machine=machine)
    assert local.builds == []
    assert outcome.stderr.endswith(
        f"\nerror: Port {port} is taken.\n\nhint: Take another one, or leave the choice to truss.\n"
    )
    assert outcome.code == 6

    assert push(package, "--target", "local", machine=machine).code == 0
    (mine,) = local.deployments()
    elsewhere = ("--target", "local", "--port", str(mine.port), "--environment", "staging")
    taken = f"error: Port {mine.port} is taken by falcon (production, release 1).\n"
    assert taken in push(package, *elsewhere, machine=machine).stderr
    assert push(package, "--target", "local", "--port", str(mine.port), machine=machine).code == 0


def test_predict_without_inputs(package: Path, local: FakeTarget) -> None:
    """A predict that takes nothing is legal, and worth a line."""
    (package / "model/model.py").write_text("class Model:\n    def predict(self):\n        return 1\n")

    outcome = push(package, "--target", "local", machine=FakeMachine(local))

    assert "model/model.py:2: `predict` takes no inputs: what requests hold is ignored.\n" in outcome.stderr
    assert outcome.code == 0


@pytest.mark.parametrize(
    ("template", "route"), [("chat", "/v1/chat/completions"), ("embeddings", "/v1/embeddings")]
)
def test_route_of_an_endpoint(template: str, route: str, tmp_path: Path, local: FakeTarget) -> None:
    """A model behind one of OpenAI's routes is called there by curl."""
    write_scaffold(plan_scaffold(template, "falcon"), tmp_path / template)

    outcome = push(tmp_path / template, "--target", "local", machine=FakeMachine(local))

    assert f"  curl -N http://HOST{route} -H " in outcome.stdout
    assert "  call   truss predict -d " in outcome.stdout


def test_route_without_predict(package: Path, local: FakeTarget) -> None:
    """Where there is no predict, the call that is printed goes to the route that there is."""
    (package / "model/model.py").write_text("class Model:\n    def messages(self, request): ...\n")

    outcome = push(package, "--target", "local", machine=FakeMachine(local))

    assert "  call   truss predict --url http://HOST/v1/messages -d " in outcome.stdout


def test_wrong_config(package: Path, local: FakeTarget) -> None:
    """A configuration that is wrong is the first thing to be noticed."""
    (package / "config.yaml").write_text("model_nam: falcon\n")

    outcome = push(package, "--target", "local", machine=FakeMachine(local))

    assert outcome.stderr.startswith(
        "load config ...\nload config failed after TIME\nerror: load config failed: "
    )
    assert "Did you mean `model_name`?" in outcome.stderr
    assert outcome.code == 3


@pytest.mark.parametrize("verb", ["build", "start", "promote"])
@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143)])
def test_interrupted(verb: str, stop: BaseException, package: Path, local: FakeTarget) -> None:
    """Ctrl-C and SIGTERM in any step leave no candidate."""

    def interrupt(begun: str) -> None:
        if begun == verb:
            raise stop

    local.script = Script(on=interrupt)

    outcome = push(package, "--target", "local", machine=FakeMachine(local))

    word = {"build": "build", "start": "start", "promote": "promote"}[verb]
    assert f"{word} interrupted after TIME\n" in outcome.stderr
    assert outcome.code == (130 if isinstance(stop, KeyboardInterrupt) else 143)
    assert local.candidates == local.deployments() == []


@pytest.mark.parametrize(
    ("stop", "why"),
    [
        (KeyboardInterrupt(), "interrupted, its last requests were cut short"),
        (SystemExit(143), "interrupted, its last requests were cut short"),
        (EngineError("Docker went away."), "Docker went away."),
    ],
)
@pytest.mark.parametrize("output", ["text", "json"])
def test_interrupted_after_the_point_of_no_return(
    stop: BaseException, why: str, output: str, package: Path, local: FakeTarget
) -> None:
    """Once the candidate has taken over, the push is told as what it is: done, with its URL and a note."""

    def interrupt(begun: str) -> None:
        if begun == "drain":
            raise stop

    local.script = Script(on=interrupt)

    outcome = push(package, "--target", "local", "--output", output, machine=FakeMachine(local))

    assert outcome.stderr.endswith(
        f"promote ...\nWhat ran before did not end in peace: {why}\npromote done in TIME\n"
    )
    assert "http://HOST" in outcome.stdout
    assert outcome.code == 0
    assert [one.id for one in local.deployments()] == ["local-1"]


def test_interrupted_while_the_result_is_told(package: Path) -> None:
    """From the point of no return to the last line, Ctrl-C changes nothing."""

    class Interrupted(FakeTarget):
        def promote(self, candidate: Deployment) -> None:
            super().promote(candidate)
            held.append(signal.getsignal(signal.SIGINT))

    held: list[object] = []
    seen: list[object] = []

    class Told(Console):
        def print_data(self, text: str) -> None:
            seen.append(signal.getsignal(signal.SIGINT))
            super().print_data(text)

    target = Interrupted("local")
    deps = Deps(
        target=FakeMachine(target).target,
        cwd=package,
        clock=FakeClock(),
        console=lambda: Told(sys.stdout, sys.stderr, {}),
    )
    outcome = run_truss("push", "--target", "local", deps=deps)
    target.close()

    assert outcome.code == 0
    assert (held, seen) == ([signal.default_int_handler], [signal.SIG_IGN])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupted_while_waiting(package: Path, local: FakeTarget) -> None:
    """Ctrl-C while the model loads ends what was started."""
    local.script = Script(loads_forever=True)

    class Interrupting(FakeClock):
        def sleep(self, seconds: float) -> None:
            raise KeyboardInterrupt

    deps = Deps(target=FakeMachine(local).target, cwd=package, clock=Interrupting())
    outcome = run_truss("push", "--target", "local", deps=deps)

    assert outcome.stderr.endswith("s\ninterrupted\n")
    assert outcome.code == 130
    assert local.candidates == []


def test_discard_fails_too(package: Path, local: FakeTarget) -> None:
    """When cleaning up fails as well, both are told, and the first is the error."""

    def fail(begun: str) -> None:
        if begun in {"promote", "discard"}:
            raise EngineError(f"The engine went away in {begun}.")

    local.script = Script(on=fail)

    outcome = push(package, "--target", "local", machine=FakeMachine(local))

    assert outcome.stderr.endswith(
        "promote failed after TIME\n"
        "What was started could not be ended (local-1): The engine went away in discard.\n"
        "error: promote failed: The engine went away in promote.\n"
    )
    assert outcome.code == 6


NAME_HINT = "hint: Take lower case letters and digits, with single `.`, `_`, `-` between"


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (
            ("--environment", "My Env"),
            f"'My Env' is no name of an environment.\n\n{NAME_HINT}, such as my-env.",
        ),
        (
            ("--environment", "../x"),
            f"'../x' is no name of an environment.\n\n{NAME_HINT}, such as x.",
        ),
        (
            ("--environment", ""),
            f"'' is no name of an environment.\n\n{NAME_HINT}.",
        ),
        (("--port", "70000"), "70000 is no port.\n\nhint: Take one of 1 to 65535, or leave it out."),
        (("--timeout", "0"), "Nobody can wait for 0 s.\n\nhint: Take more than 0, at most 604800."),
        (("--timeout", "nan"), "Nobody can wait for nan s.\n\nhint: Take more than 0, at most 604800."),
    ],
)
def test_options_that_make_no_sense(args: tuple[str, ...], error: str, package: Path) -> None:
    """Values that cannot be are refused before the first step."""
    assert push(package, *args, machine=FakeMachine()) == Outcome(stderr=f"error: {error}\n", code=2)


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("--target", "moon", "'moon' is not one of 'local', 'docker'."),
        ("--output", "xml", "'xml' is not one of 'text', 'json'."),
        ("--port", "x", "it is no whole number."),
        ("--port", "8080.5", "it is no whole number."),
        ("--timeout", "x", "it is no number."),
    ],
)
def test_options_of_a_wrong_kind(option: str, value: str, problem: str, package: Path) -> None:
    """Choices and numbers are checked by the command line."""
    outcome = push(package, option, value, machine=FakeMachine())

    assert outcome.stderr == (
        f"error: Invalid value for '{option}': {problem}\n\nhint: `truss push --help` shows what there is.\n"
    )
    assert outcome.code == 2
