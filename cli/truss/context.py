"""A build context: what a Docker build gets to see, as a tar stream that equal plans make byte for byte equal."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from truss.errors import EngineError
from truss.hashes import Hashes
from truss.release import FileChangedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from truss.release import PackageFile

BLOCK = tarfile.BLOCKSIZE
READ_BYTES = 256 * 1024
"""How much of a file is in memory at a time."""


@dataclass(frozen=True)
class Member:
    """A file of a context.

    Attributes:
        path: Relative to the root of the context.
        content: Bytes of our own, or a file of the package, which is read when it is sent.
        executable: Whether it may be run; all other mode bits are the same for every file.
    """

    path: PurePosixPath
    content: bytes | PackageFile
    executable: bool = False

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.size

    @property
    def sha256(self) -> str:
        """Hash of the content, hex."""
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).hexdigest()
        return self.content.sha256


@dataclass(frozen=True)
class Context:
    """The files of a context, the Dockerfile among them.

    Attributes:
        members: Files; those that only matter while the image is built are not among them.
        folders: Exist in the context whether or not there are files in them.
    """

    members: tuple[Member, ...]
    folders: tuple[PurePosixPath, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Hash over everything that the image is made of, hex."""
        lines = [f"{m.path}\0{m.executable:d}\0{m.sha256}\n" for m in _sorted(self.members)]
        lines += [f"{folder}/\n" for folder in sorted(self.folders)]
        return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(member.size for member in self.members)

    def tar(self, extra: Iterable[Member] = ()) -> Iterator[bytes]:
        """Yield the context as a tar stream.

        Args:
            extra: More files, which the build needs and the image does not hold: settings of the user.

        Raises:
            FileChangedError: A file is not any more what it was when the plan was made.
        """
        members = _sorted([*self.members, *extra])
        for folder in _folders(members, self.folders):
            yield _header(f"{folder}/", mode=0o755, kind=tarfile.DIRTYPE)
        yield from tar_files(members)


def write_context(context: Context, folder: Path) -> None:
    """Write a context to a folder that is not there: all of it, or, when that fails, nothing.

    Raises:
        FileChangedError: A file is not any more what it was when the plan was made.
        EngineError: The machine refuses to write.
    """
    temporary = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        for path in _folders(context.members, context.folders):
            (temporary / path).mkdir()
        for member in context.members:
            with (temporary / member.path).open("xb") as file:
                file.writelines(
                    [member.content] if isinstance(member.content, bytes) else _read(member.content)
                )
        # Whatever the umask is, and however late it is: the folder is the same.
        executable = {temporary / member.path for member in context.members if member.executable}
        for made in [temporary, *temporary.rglob("*")]:
            made.chmod(0o755 if made in executable or made.is_dir() else 0o644)
            os.utime(made, (0, 0))
        temporary.rename(folder)
    except OSError as exc:
        raise EngineError(f"{folder} cannot be written: {exc.strerror or exc}.") from exc
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def tar_files(members: Iterable[Member]) -> Iterator[bytes]:
    """Yield files, and nothing for the folders they lie in, as a tar stream.

    Raises:
        FileChangedError: A file is not any more what it was when the plan was made.
    """
    for member in members:
        mode = 0o755 if member.executable else 0o644
        yield _header(str(member.path), mode=mode, size=member.size)
        yield from [member.content] if isinstance(member.content, bytes) else _read(member.content)
        yield bytes(-member.size % BLOCK)
    yield bytes(2 * BLOCK)


def _sorted(members: Iterable[Member]) -> list[Member]:
    """Return members in the order of their paths."""
    return sorted(members, key=lambda member: member.path)


def _folders(members: Iterable[Member], folders: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """Return every folder of a context, parents first."""
    found = {parent for member in members for parent in member.path.parents}
    found |= {parent for folder in folders for parent in (folder, *folder.parents)}
    return sorted(found - {PurePosixPath()})


def _header(name: str, *, mode: int, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return the tar header of a file or folder: nobody's, of no time."""
    info = tarfile.TarInfo(name)
    info.mode, info.size, info.type = mode, size, kind
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _read(file: PackageFile) -> Iterator[bytes]:
    """Yield the content of a file of the package, which must be what the plan says it is."""
    seen, found = 0, hashlib.sha256()
    try:
        with file.source.open("rb") as stream:
            while chunk := stream.read(READ_BYTES):
                seen += len(chunk)
                if seen > file.size:
                    break
                found.update(chunk)
                yield chunk
    except OSError as exc:
        raise FileChangedError(f"{file.source} cannot be read any more: {exc.strerror}.") from exc
    if seen != file.size or found.hexdigest() != file.sha256:
        Hashes().forget()
        raise FileChangedError(f"{file.source} changed while it was sent.", hint="Push again.")
