"""Makes tiny Python packages, so that tests can install requirements without a network."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BACKEND = """\
import fcntl, time
from pathlib import Path

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    held = open({held!r}, "w")
    fcntl.flock(held, fcntl.LOCK_EX)
    Path({started!r}).touch()
    deadline = time.monotonic() + 60
    while not Path({go!r}).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    import zipfile
    name = "{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory, name), "w") as wheel:
        wheel.writestr("{name}.py", "")
        wheel.writestr("{name}-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
        tag = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr("{name}-1.0.dist-info/WHEEL", tag)
        wheel.writestr("{name}-1.0.dist-info/RECORD", "")
    return name
"""


def make_wheel(
    folder: Path, name: str, version: str = "1.0", *, source: str = "", requires: tuple[str, ...] = ()
) -> Path:
    """Write a wheel with one module into a folder that `PIP_FIND_LINKS` may name."""
    info = f"{name}-{version}.dist-info"
    metadata = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        *(f"Requires-Dist: {r}\n" for r in requires),
    ]
    members = {
        f"{name}.py": source,
        f"{info}/METADATA": "".join(metadata),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},sha256={_hash(text)},{len(text.encode())}\n" for path, text in members.items()]
    members[f"{info}/RECORD"] = "".join([*record, f"{info}/RECORD,,\n"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, text in members.items():
            wheel.writestr(member, text)
    return path


def make_index(folder: Path) -> str:
    """Turn a folder of wheels into an index that tells their hashes; return its URL."""
    for wheel in folder.glob("*.whl"):
        page = folder / "simple" / wheel.name.partition("-")[0] / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        with page.open("a") as links:
            links.write(f'<a href="../../{wheel.name}#sha256={digest}">{wheel.name}</a>\n')
    return (folder / "simple").as_uri()


class SlowSource:
    """A source distribution whose build goes on until it is allowed to end.

    Args:
        folder: Where to write it, for `PIP_FIND_LINKS`.
        name: Of the project.

    Attributes:
        started: Exists once a build runs.
        go: Make this file to let builds end.
        held: Locked (flock) as long as a build lives.
    """

    def __init__(self, folder: Path, name: str = "slow") -> None:
        self.started = folder / "started"
        self.go = folder / "go"
        self.held = folder / "held"
        folder.mkdir(parents=True, exist_ok=True)
        backend = BACKEND.format(name=name, held=str(self.held), started=str(self.started), go=str(self.go))
        project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        metadata = f"Metadata-Version: 2.2\nName: {name}\nVersion: 1.0\n"
        with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as archive:
            for path, text in {
                "backend.py": backend,
                "pyproject.toml": project,
                "PKG-INFO": metadata,
            }.items():
                member = tarfile.TarInfo(f"{name}-1.0/{path}")
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
