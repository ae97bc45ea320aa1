"""What `truss` does around its commands: help, version, errors, signals, quick starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import truss.errors
from tests.harness import TRUSS, Outcome, run_truss, spawn_truss
from truss import __version__, commands
from truss.commands import SUMMARIES
from truss.errors import BuildError, TrussError, UsageError
from truss.lazy import load_command
from truss.main import LazyGroup

HELP = """\
Usage: truss [OPTIONS] COMMAND [ARGS]...

  Turn a Python class with load and predict into a service that streams.

Options:
  -V, --version         Show the version.
  --install-completion  Install completion for the current shell.
  --show-completion     Show completion for the current shell, to copy it or
                        customize the installation.
  -h, --help            Show this message and exit.

Commands:
  init     Make a new package from a template.
  push     Build the package and run it, then say where it answers.
  watch    Make every save live in the deployment in development.
  predict  Call a deployed model; its answer appears as it is produced.
  list     Show what is deployed.
  logs     Show what a deployed model prints and logs.
  stop     Stop a deployed model.
  image    Build the image of a package, run it, or write its build context.
  secrets  Keep secrets that models ask for.
  config   Check config.yaml, show it with its defaults, or print its schema.
"""


def group_that(raises: BaseException) -> typer.Typer:
    """Return a command line like ours with one command, `fail`, that raises."""
    app = typer.Typer(cls=LazyGroup, rich_markup_mode=None)

    @app.callback(invoke_without_command=True)
    def fail() -> None:
        raise raises

    return app


def run_failing(raises: BaseException, *args: str) -> Outcome:
    """Run a command line that raises."""
    result = typer.testing.CliRunner().invoke(group_that(raises), list(args), prog_name="truss")
    return Outcome(result.stdout, result.stderr, result.exit_code)


@pytest.mark.parametrize("args", [[], ["-h"], ["--help"]])
def test_help(args: list[str]) -> None:
    """Bare `truss`, `-h` and `--help` print the same plain help."""
    assert run_truss(*args) == Outcome(stdout=HELP)


@pytest.mark.parametrize("args", [["-V"], ["--version"]])
def test_version(args: list[str]) -> None:
    """Both spellings print the version."""
    assert spawn_truss(*args) == run_truss(*args) == Outcome(stdout=f"truss {__version__}\n")


def modules_of(*args: str) -> set[str]:
    """Return the modules that are loaded when `truss ARGS` has run."""
    code = (
        "import sys, runpy\n"
        "sys.argv = ['truss', *sys.argv[1:]]\n"
        "try: runpy.run_module('truss', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "sys.stderr.write('\\n'.join(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stderr.split("\n"))


SLOW = {"rich", "httpx", "docker", "jinja2", "pydantic", "yaml", "fastapi", "uvicorn"}


def test_version_imports_nothing_slow() -> None:
    """`--version` does not even import typer."""
    assert modules_of("--version") & (SLOW | {"typer", "click", "truss.main"}) == set()


@pytest.mark.parametrize("args", [["--help"], []])
def test_help_imports_no_command(args: list[str]) -> None:
    """Help is known without importing a command or what commands need."""
    loaded = modules_of(*args)

    assert loaded & (SLOW | {f"truss.commands.{name}" for name in SUMMARIES}) == set()


def test_completion_imports_no_command() -> None:
    """Completing a command's name needs no command."""
    environ = {"_TRUSS_COMPLETE": "complete_bash", "COMP_WORDS": "truss p", "COMP_CWORD": "1"}

    assert spawn_truss(environ=environ) == Outcome(stdout="push\npredict\n")


def test_every_command_is_in_the_help() -> None:
    """The folder of commands and the list of summaries name the same commands."""
    folder = Path(commands.__path__[0])

    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(SUMMARIES)


@pytest.mark.parametrize("name", SUMMARIES)
def test_summary_is_the_first_line_of_the_help(name: str) -> None:
    """What `truss --help` says of a command is what its own help begins with."""
    assert (load_command(name).help or "").splitlines()[0] == SUMMARIES[name]


@pytest.mark.parametrize("name", SUMMARIES)
def test_short_help_option(name: str) -> None:
    """`-h` works on every command."""
    outcome = run_truss(name, "-h")

    assert outcome == run_truss(name, "--help")
    assert outcome.stdout.startswith(f"Usage: truss {name} [OPTIONS]")
    assert outcome.code == 0


def test_unknown_command() -> None:
    """A mistyped command is answered with the one that was meant."""
    expected = Outcome(
        stderr="error: No such command 'pusk'. Did you mean 'push'?\n\nhint: `truss --help` shows what there is.\n",
        code=2,
    )

    assert run_truss("pusk") == expected


def test_unknown_option_before_the_command() -> None:
    """A wrong option of `truss` itself is a usage error too."""
    expected = Outcome(
        stderr="error: No such option: --foo\n\nhint: `truss --help` shows what there is.\n", code=2
    )

    assert run_truss("--foo") == expected


def test_unknown_option_of_a_command() -> None:
    """The hint names the command whose option it would be."""
    expected = Outcome(
        stderr="error: No such option: --foo\n\nhint: `truss list --help` shows what there is.\n", code=2
    )

    assert run_truss("list", "--foo") == expected


def test_usage_error_as_json() -> None:
    """With `--output json` even arguments that make no sense are answered in JSON, on stdout."""
    outcome = run_truss("list", "--output", "json", "--foo")

    assert (outcome.stderr, outcome.code) == ("", 2)
    assert json.loads(outcome.stdout) == {
        "error": {
            "message": "No such option: --foo",
            "step": "",
            "details": "",
            "problems": [],
            "hint": "`truss list --help` shows what there is.",
            "exit_code": 2,
        }
    }


def every_error() -> list[type[TrussError]]:
    """Return all classes of errors."""
    found = [item for item in vars(truss.errors).values() if isinstance(item, type)]
    return [item for item in found if issubclass(item, TrussError)]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: str(kind.__name__))
def test_exit_code_of_each_error(kind: type[TrussError]) -> None:
    """An error ends the process with its class's code, and says so on stderr alone."""
    assert run_failing(kind("it broke")) == Outcome(stderr="error: it broke\n", code=kind.exit_code)


def test_exit_codes_differ() -> None:
    """A script can tell every class of error from every other."""
    codes = [kind.exit_code for kind in every_error()]

    assert len(set(codes)) == len(codes) == 10


def test_error_with_step_details_and_hint() -> None:
    """The step comes first, then what shows the error, then what to do."""
    error = BuildError(
        "pip found no version of torhc", details="ERROR: no match\nsecond line\n", hint="is it torch?"
    )
    error.step = "build"

    expected = (
        "error: build failed: pip found no version of torhc\n"
        "ERROR: no match\nsecond line\n"
        "\nhint: is it torch?\n"
    )

    assert run_failing(error) == Outcome(stderr=expected, code=4)


def test_interrupt() -> None:
    """Ctrl-C ends with 130 and one line."""
    assert run_failing(KeyboardInterrupt()) == Outcome(stderr="interrupted\n", code=130)


def test_interrupt_before_all_is_imported() -> None:
    """Ctrl-C is as quiet while the command is still being imported."""
    code = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'truss.main': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from truss.__main__ import main\n"
        "main()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.stdout, done.stderr, done.returncode) == ("", "interrupted\n", 130)


def test_broken_pipe() -> None:
    """A reader that left is no error to talk about."""
    assert run_failing(BrokenPipeError()) == Outcome(code=141)


def test_bug() -> None:
    """An error nobody foresaw shows its end and how to see all of it."""
    outcome = run_failing(ZeroDivisionError("division by zero"))

    lines = outcome.stderr.splitlines()

    assert lines[:2] == ["error: This is a bug in truss.", "  ..."]
    assert lines[-3:] == [
        "ZeroDivisionError: division by zero",
        "",
        "hint: Run it again with TRUSS_DEBUG=1 for the whole traceback. Please report it with the command you ran.",
    ]
    assert len(lines) == 10
    assert (outcome.stdout, outcome.code) == ("", 1)


def test_bug_with_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRUSS_DEBUG shows the whole traceback."""
    monkeypatch.setenv("TRUSS_DEBUG", "1")

    outcome = run_failing(ZeroDivisionError("division by zero"))

    assert outcome.stderr.startswith("error: This is a bug in truss.\nTraceback (most recent call last):\n")
    assert "\nhint: Please report it with the command you ran.\n" in outcome.stderr


def test_output_into_a_closed_pipe() -> None:
    """`truss --help | true` leaves nothing on stderr."""
    command = f"'{TRUSS}' --help | true; echo ${{PIPESTATUS[0]}}"

    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)

    assert done.stderr == ""
    assert done.stdout in {"0\n", "141\n"}


def test_closed_stdout_is_silent() -> None:
    """A pipe that is closed before anything is written ends the process silently."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as stdout:
        done = subprocess.run(
            [TRUSS, "--help"], stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False
        )

    assert (done.stderr, done.returncode) == (b"", 141)


def test_termination_runs_cleanup() -> None:
    """SIGTERM ends the process through its `finally` blocks."""
    code = (
        "import os, signal, truss.main as m, truss.commands.list as l\n"
        "def command():\n"
        "    try: os.kill(os.getpid(), signal.SIGTERM); signal.pause()\n"
        "    finally: print('cleaned up')\n"
        "l.command = command\n"
        "import sys; sys.argv = ['truss', 'list']; m.run()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.stdout, done.stderr, done.returncode) == ("cleaned up\n", "", 128 + signal.SIGTERM)


def test_nohup() -> None:
    """A SIGHUP that whoever started the command wants ignored does not end it."""
    code = (
        "import os, signal, truss.main as m, truss.commands.list as l\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "def command():\n"
        "    os.kill(os.getpid(), signal.SIGHUP); print('still here')\n"
        "l.command = command\n"
        "import sys; sys.argv = ['truss', 'list']; m.run()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.stdout, done.stderr, done.returncode) == ("still here\n", "", 0)


def test_current_folder_is_gone(tmp_path: os.PathLike[str]) -> None:
    """A folder that was removed under the shell is named as the reason."""
    done = subprocess.run(
        ["bash", "-c", f"mkdir '{tmp_path}/x'; cd '{tmp_path}/x'; rmdir '{tmp_path}/x'; '{TRUSS}' list"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stderr == "error: The current folder no longer exists.\n\nhint: Change to another one.\n"
    assert done.returncode == TrussError.exit_code
    assert UsageError.exit_code == 2
