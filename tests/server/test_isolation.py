"""What the server may import: the worker the standard library only, nothing of the server the tool."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.server.interpreters import PYTHONS
from tests.server.raw_worker import PACKAGE

WORKER = sorted(
    ["truss_server.wire", "truss_server.protocol", "truss_server.plain_json"]
    + [
        f"truss_server.worker.{path.stem}"
        for path in (PACKAGE / "worker").glob("*.py")
        if path.stem != "__init__"
    ]
)
EDGE = sorted(
    f"truss_server.edge.{path.stem}" for path in (PACKAGE / "edge").glob("*.py") if path.stem != "__init__"
)


@pytest.mark.parametrize("version", sorted(PYTHONS))
def test_the_worker_imports_only_the_standard_library(version: str) -> None:
    """Each of its modules is importable alone in an interpreter without site-packages, and brings nothing foreign."""
    script = f"""
import subprocess, sys
sys.path.append({str(PACKAGE.parent)!r})
stdlib = getattr(sys, "stdlib_module_names", {sorted(sys.stdlib_module_names)!r})
for name in {WORKER!r}:
    before = set(sys.modules)
    __import__(name)
    new = {{n.partition(".")[0] for n in set(sys.modules) - before}} - set(stdlib) - {{"truss_server", "_bootlocale"}}
    assert not new, (name, new)
    for module in [n for n in sys.modules if n.startswith("truss_server")]:
        del sys.modules[module]
"""

    done = subprocess.run(
        [PYTHONS[version], "-I", "-S", "-c", script], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_the_server_never_imports_the_tool() -> None:
    """Every module of the server can be imported where there is no `truss`, and none brings it in."""
    script = f"""
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("truss", "truss_templates"):
            raise AssertionError(f"{{name}} is imported")
sys.meta_path.insert(0, Refuse())
sys.path[:] = [p for p in sys.path if not p.endswith(("/cli", "/templates"))]
for name in {WORKER + EDGE!r}:
    __import__(name)
assert sys.modules["truss_server"].__file__ == {str(PACKAGE / "__init__.py")!r}
"""

    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_worker_compiles_on_the_oldest_python() -> None:
    """The files that the model's interpreter runs have no syntax newer than the oldest one found."""
    oldest = PYTHONS[min(PYTHONS, key=lambda version: int(version.split(".")[1]))]
    files = [
        PACKAGE / "__init__.py",
        PACKAGE / "wire.py",
        PACKAGE / "protocol.py",
        *(PACKAGE / "worker").glob("*.py"),
    ]
    script = (
        "import ast, sys; [ast.parse(open(name, encoding='utf-8').read(), name) for name in sys.argv[1:]]"
    )

    done = subprocess.run(
        [oldest, "-I", "-c", script, *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
