"""What a person sees of a workflow: on a terminal, in a pipe, without colours, and after Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import re
import sys

import pexpect
import pytest

from tests.harness import Outcome
from truss.build_report import BuiltImage
from truss.console import Console, PlainProgress
from truss.errors import BuildError, TrussError
from truss.wording import clean, format_error, format_error_json

SECONDS = 30


class Ticking:
    """A clock that is a quarter of a second later each time it is asked."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Return the time."""
        self.seconds += 0.25
        return self.seconds


def test_plain_progress() -> None:
    """Steps are lines that say how long, details are indented below."""
    lines: list[str] = []
    progress = PlainProgress(lines.append, Ticking())

    with progress.step("build"):
        progress.detail("Collecting \x1b[32mtorch\x1b[0m\n")
        progress.detail("  10%\r 100%\n")
        progress.detail("\r\n")
        progress.note("torch comes from the cache")

    assert lines == [
        "build ...",
        "  Collecting torch",
        "   100%",
        "torch comes from the cache",
        "build done in 0.2 s",
    ]


def test_a_build_ends_with_a_waterfall() -> None:
    """In a pipe too: what was there, what took how long, what it adds."""
    lines: list[str] = []
    progress = PlainProgress(lines.append, Ticking())

    progress.built(
        [
            BuiltImage("server", "truss-server:1", cached=True, seconds=0.0, size=38_000_000),
            BuiltImage("release", "truss/demo:1", cached=False, seconds=0.3, size=3200),
        ]
    )

    assert lines == [
        "  server      cached     38 MB",
        "  release      0.3 s    3.2 kB  ##############################",
        "               0.3 s     38 MB",
    ]


def test_failing_step_names_itself() -> None:
    """An error that leaves a step knows the step, the innermost one that there is."""
    lines: list[str] = []
    progress = PlainProgress(lines.append, Ticking())

    with pytest.raises(BuildError) as caught, progress.step("push"), progress.step("build"):
        raise BuildError("pip failed")

    assert caught.value.step == "build"
    assert lines == ["push ...", "build ...", "build failed after 0.2 s", "push failed after 0.8 s"]


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ("Collecting numpyy\nERROR: no such package", ""),
        ("ERROR: no such package\nbut numpy", "ERROR: no such package\nbut numpy\n"),
        ("", ""),
    ],
)
def test_details_are_said_once(details: str, said: str) -> None:
    """What has just been written line by line is not in the error again, except as JSON."""
    progress = PlainProgress(lambda _line: None)

    def build() -> None:
        with progress.step("build"):
            progress.detail("Collecting numpyy")
            progress.detail("  ERROR: no such package")
            raise BuildError("pip failed", details=details)

    with pytest.raises(BuildError) as caught:
        build()

    assert format_error(caught.value) == f"error: build failed: pip failed\n{said}"
    assert json.loads(format_error_json(caught.value))["error"]["details"] == details


def console(encoding: str) -> tuple[Console, io.BytesIO, io.BytesIO]:
    """Return a console on streams that are no terminals."""
    out, err = io.BytesIO(), io.BytesIO()
    stdout, stderr = (io.TextIOWrapper(raw, encoding=encoding, write_through=True) for raw in (out, err))
    return Console(stdout, stderr, {}), out, err


def test_encoding_that_lacks_letters() -> None:
    """A stream of another encoding gets escapes, never an exception in the middle of an answer."""
    both, out, err = console("ascii")

    both.print_data("café 隼\n")
    both.print_note("naïve")
    both.print_error(TrussError("größer"))

    assert out.getvalue() == b"caf\\xe9 \\u96bc\n"
    assert err.getvalue() == b"na\\xefve\nerror: gr\\xf6\\xdfer\n"


def test_half_characters() -> None:
    """Names of files that are no text can be said."""
    both, _, err = console("utf-8")

    both.print_note("\udcff.txt")

    assert err.getvalue() == b"\\udcff.txt\n"


PROGRAM = """
import sys, time
from truss.build_report import BuiltImage
from truss.console import Console
from truss.errors import BuildError
with Console.of_process().progress() as progress:
    with progress.step("load config"):
        pass
    progress.note("taking local")
    with progress.step("build"):
        for line in range(9):
            progress.detail(f"line {line} " + "x" * 100)
        progress.detail("the last line")
        if sys.argv[1] == "wait":
            time.sleep(30)
        if sys.argv[1] == "fail":
            raise SystemError("no")
"""


def on_terminal(mode: str, *, interrupt: bool = False, **environ: str) -> Outcome:
    """Run the program on a terminal of 60 columns; return what it drew and its exit code."""
    child = pexpect.spawn(
        sys.executable,
        ["-c", PROGRAM, mode],
        env={**os.environ, "COLUMNS": "60", "LANG": "C.UTF-8", **environ},
        timeout=SECONDS,
        encoding="utf-8",
        dimensions=(24, 60),
    )
    drawn = ""
    if interrupt:
        child.expect_exact("the last line")
        drawn = f"{child.before}{child.after}"
        child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    code = child.exitstatus if child.exitstatus is not None else -int(child.signalstatus or 0)
    return Outcome(drawn + str(child.before), "", code)


HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def final_lines(drawn: str) -> list[str]:
    """Return the lines of the last picture: what follows the last time that the cursor was moved up."""
    last = re.split(r"\x1b\[1A|\x1b\[2K", drawn)[-1]
    return [clean(line) for line in last.replace(SHOW, "").split("\r\n")]


def test_terminal() -> None:
    """On a terminal the steps are a list with marks and seconds; details are gone when all is done."""
    drawn = on_terminal("done").stdout

    assert final_lines(drawn) == ["✓ load config  0.0 s", "✓ build        0.0 s", ""]
    assert "taking local\r\n" in drawn
    assert drawn.index(HIDE) < drawn.rindex(SHOW)


def test_terminal_while_a_step_runs() -> None:
    """The last lines of what happens are below the step, cut to the width of the terminal, dimmed."""
    drawn = on_terminal("wait", interrupt=True).stdout

    shown = [line for line in drawn.split("\r\n") if "the last line" in line or "xxx" in line]
    assert "\x1b[2m    the last line" in drawn
    assert all(len(clean(line)) <= 60 for line in shown)
    assert any(clean(line).endswith("x…") for line in shown)


def test_terminal_after_an_interrupt() -> None:
    """Ctrl-C gives the cursor back, drops the details, and says where it struck."""
    outcome = on_terminal("wait", interrupt=True)

    assert re.search("✗ .*build .* s.* \\(interrupted\\)", outcome.stdout)
    assert outcome.stdout.index(HIDE) < outcome.stdout.rindex(SHOW) < outcome.stdout.index("Traceback")
    assert outcome.code == -2


def test_terminal_of_a_failure() -> None:
    """A failed step has its own mark and word."""
    drawn = on_terminal("fail").stdout

    assert re.search("✗ .*build .*0.0 s.* \\(failed\\)", drawn)
    assert SHOW in drawn


def test_no_color() -> None:
    """NO_COLOR leaves no colour: of all styles only dim and bold may be left."""
    drawn = on_terminal("done", NO_COLOR="1").stdout

    assert not re.search(r"\x1b\[(?:\d+;)*(?:3[0-7]|38|9[0-7])[;m]", drawn)
    assert "✓ load config" in clean_all(drawn)


def test_colors() -> None:
    """Without it marks have colours."""
    assert "\x1b[32m✓" in on_terminal("done").stdout


def test_dumb_terminal() -> None:
    """A terminal that cannot move its cursor gets plain lines."""
    drawn = on_terminal("done", TERM="dumb").stdout

    assert "\x1b" not in drawn
    assert drawn.startswith("load config ...\r\nload config done in 0.0 s\r\ntaking local\r\nbuild ...\r\n")


def test_terminal_without_unicode() -> None:
    """Marks are ASCII where the encoding has no others."""
    drawn = on_terminal("done", PYTHONIOENCODING="ascii", NO_COLOR="1").stdout

    assert "+ load config" in clean_all(drawn)


def clean_all(drawn: str) -> str:
    """Return a terminal's output without its control sequences."""
    return "\n".join(clean(line) for line in drawn.split("\r\n"))
