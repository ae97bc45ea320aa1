"""Single keys from a terminal."""

from __future__ import annotations

import os
import sys
import termios
from typing import TYPE_CHECKING

import pexpect

from tests.helpers import wait_until
from truss.keys import single_keys

if TYPE_CHECKING:
    from pathlib import Path

READER = """\
import os, sys
from truss.keys import single_keys
try:
    with single_keys(0) as keys:
        print("ready", flush=True)
        print("got", os.read(keys, 10), flush=True)
        {then}
finally:
    print("end", flush=True)
os.read(0, 10)
"""


def flags(terminal: pexpect.spawn[str]) -> int:
    """Return how a terminal treats lines."""
    return int(termios.tcgetattr(terminal.child_fd)[3]) & (termios.ICANON | termios.ECHO)


def test_one_key(tmp_path: Path) -> None:
    """A key arrives without Return, and the terminal is as it was afterwards, whatever happened meanwhile."""
    for then in ("pass", "raise KeyboardInterrupt", "sys.exit(3)"):
        terminal = pexpect.spawn(
            sys.executable, ["-c", READER.format(then=then)], encoding="utf-8", timeout=20
        )
        before = flags(terminal)
        terminal.expect("ready")
        assert flags(terminal) == 0

        terminal.send("r")
        terminal.expect("got b'r'")
        terminal.expect("end")

        assert flags(terminal) == before
        terminal.close(force=True)


GONE = """\
import os, signal, sys
from truss.keys import read_keys, single_keys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with single_keys(0) as keys:
    print("ready", flush=True)
    found = read_keys(keys)
open(sys.argv[1], "w").write(repr(found))
"""


def test_terminal_that_is_gone(tmp_path: Path) -> None:
    """A terminal that is closed under a process that ignores SIGHUP gives no key, and cannot be put back as it was."""
    terminal = pexpect.spawn(
        sys.executable, ["-c", GONE, str(tmp_path / "found")], encoding="utf-8", timeout=20
    )
    terminal.expect("ready\r\n")  # to the end of the line: the rest of it could not be written any more

    os.close(terminal.child_fd)

    wait_until(lambda: (tmp_path / "found").exists() and (tmp_path / "found").read_text() == "None", 20)


def test_no_terminal() -> None:
    """Where stdin is a pipe, a file or nothing, there are no keys."""
    source, target = os.pipe()
    try:
        for fd in (source, -1):
            with single_keys(fd) as keys:
                assert keys is None
    finally:
        os.close(source)
        os.close(target)
