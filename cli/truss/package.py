"""A package on disk: which of its files make a release.

`config.yaml`, the requirements file and the model, packages and data folders do, except what `.trussignore`
names and what no release needs. Links that stay inside the package are followed; a release has files only.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from truss.config_values import CONFIG
from truss.errors import PackageError
from truss.ignore import IGNORE_FILE, ignore_rules
from truss.release import FileChangedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from truss.config import TrussConfig
    from truss.memory import Memory
    from truss.release import PackageFile

FOLDERS = ("model_module_dir", "bundled_packages_dir", "data_dir")
"""Keys of the folders that a release is made of."""

_ENGINE = (
    "`trt_llm` has an engine built on Truss's own platform alone; here a class in model/model.py is served: "
    "`truss init NAME` shows one."
)
"""What to do where there is no model's folder, but an engine to build."""


def package_files(
    package: Path,
    config: TrussConfig,
    memory: Memory,
    settings: Iterable[str] = (),
    downloaded: Iterable[PackageFile] = (),
) -> tuple[PackageFile, ...]:
    """Return the files of a package that make a release, sorted by path, each read once.

    Args:
        package: Its folder.
        config: Its configuration.
        memory: Of what was read before.
        settings: Paths of more files that it cannot be without.
        downloaded: More files of the release, which lie elsewhere.

    Raises:
        PackageError: A file that is missing, cannot be read, is no regular file or lies outside the package.
    """
    root = package.resolve()
    walk = _Walk(root, ignore_rules(root, memory), memory)
    with _readable():
        _collect(walk, config)
        for name in settings:
            walk.required_file(name)
        found = dict(walk.files)
        for folder in config.external_package_dirs:
            _add(found, _external(root, folder, config, memory).values())
    _add(found, downloaded)
    return tuple(found[path] for path in sorted(found))


def _add(found: dict[str, PackageFile], more: Iterable[PackageFile]) -> None:
    for file in more:
        before = found.setdefault(str(file.path), file)
        if before.sha256 != file.sha256:
            raise PackageError(
                f"{file.path} would be both {before.source} and {file.source}.", hint="Rename one of them."
            )


def external_folder(root: Path, name: str) -> Path:
    """Return where a folder outside the package is.

    Raises:
        PackageError: Nowhere, or around the package.
    """
    folder = (root / name).resolve()
    if not folder.is_dir():
        raise PackageError(
            f"There is no folder {folder}.", hint=f"Add it, or correct `external_package_dirs` in {CONFIG}."
        )
    if root.resolve().is_relative_to(folder):
        raise PackageError(
            f"{folder} holds the package itself.",
            hint=f"Name a folder beside it in `external_package_dirs` in {CONFIG}.",
        )
    return folder


def no_folder(name: str, hint: str = "") -> PackageError:
    """Return the error of a folder that a package is to have, and has not."""
    return PackageError(
        f"There is no folder {name} in the package.",
        hint=hint or f"Make it, or name another one in {CONFIG}.",
    )


def _external(root: Path, name: str, config: TrussConfig, memory: Memory) -> dict[str, PackageFile]:
    """Return the files of a folder outside the package, as they lie in the release."""
    folder = external_folder(root, name)
    walk = _Walk(folder, ignore_rules(root, memory), memory, f"{config.bundled_packages_dir}/")
    walk.everything()
    return walk.files


def named_files(package: Path, names: Iterable[str], memory: Memory) -> tuple[PackageFile, ...]:
    """Return files of a package that are no part of its release, sorted by path.

    Raises:
        PackageError: As `package_files`.
    """
    walk = _Walk(package.resolve(), lambda _: False, memory)
    with _readable():
        for name in names:
            walk.required_file(name)
    return tuple(walk.files[path] for path in sorted(walk.files))


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        raise FileChangedError(f"{exc.filename} was removed while it was looked at.") from exc
    except OSError as exc:
        raise PackageError(f"{exc.filename} cannot be read: {exc.strerror}.") from exc


def _collect(walk: _Walk, config: TrussConfig) -> None:
    walk.required_file(CONFIG)
    if config.requirements_file is not None:
        walk.required_file(config.requirements_file)
    required = required_folders(config)
    for key in FOLDERS:
        hint = _ENGINE if key == FOLDERS[0] and config.trt_llm is not None else ""
        walk.folder(getattr(config, key), required=key in required, hint=hint)


def required_folders(config: TrussConfig) -> set[str]:
    """Return the keys of the folders that a package cannot be without: the model's, and those with a name of its own.

    Git keeps no empty folder, and existing packages write the usual names out.
    """
    fields = type(config).model_fields
    required = {key for key in FOLDERS if getattr(config, key) != fields[key].default}
    if config.docker_server is None:  # else there is no class, so perhaps no folder of it
        required.add(FOLDERS[0])
    return required - {"data_dir"} if config.external_data else required


def code_files(files: Iterable[PackageFile], config: TrussConfig) -> Iterator[PackageFile]:
    """Yield the Python files that the model can import."""
    below = (f"{config.model_module_dir}/", f"{config.bundled_packages_dir}/")
    for file in files:
        if (path := str(file.path)).endswith(".py") and path.startswith(below):
            yield file


class _Walk:
    """Goes through folders of a package and collects what is not ignored."""

    def __init__(self, root: Path, ignored: Callable[[str], bool], memory: Memory, prefix: str = "") -> None:
        self.files: dict[str, PackageFile] = {}
        self._prefix = prefix
        self._root = root
        self._ignored = ignored
        self._memory = memory

    def required_file(self, name: str) -> None:
        """Take a file that a release cannot be without, ignored or not."""
        path = _on_disk(name)
        local = self._root / path
        if not local.is_file() and not local.is_symlink():
            raise PackageError(f"There is no file {name} in the package.", hint=f"{CONFIG} names it.")
        self._inside(path)
        self._file(path, link=local.is_symlink())

    def everything(self) -> None:
        """Take all that is below the root."""
        self._children("", (str(self._root),))

    def folder(self, name: str, *, required: bool, hint: str = "") -> None:
        """Take all of a folder; the hint says what to do where it is required and not there."""
        path = _on_disk(name)
        local = self._root / path
        real = self._inside(path) if os.path.lexists(local) else local
        if real.is_dir():
            if not self._ignored(f"{name}/"):
                self._children(path, (str(real),))
        elif required or real.exists():
            raise no_folder(name, hint)

    def _children(self, folder: str, above: tuple[str, ...]) -> None:
        with os.scandir(f"{self._root}/{folder}") as entries:
            for entry in entries:
                self._visit(entry, f"{folder}/{entry.name}".lstrip("/"), above)

    def _visit(self, entry: os.DirEntry[str], path: str, above: tuple[str, ...]) -> None:
        link = entry.is_symlink()
        is_folder = Path(entry).is_dir() if link else entry.is_dir()
        name = f"{self._prefix}{_utf8(path)}"
        if self._ignored(f"{name}/" if is_folder else name):
            return
        real = str(self._inside(path)) if link else f"{above[-1]}/{entry.name}"
        if not is_folder:
            self._file(path, link=link)
        elif real in above:
            raise PackageError(
                f"The link {path} leads back to a folder that holds it.",
                hint=f"Remove it, or name it in {IGNORE_FILE}.",
            )
        else:
            self._children(path, (*above, real))

    def _inside(self, path: str) -> Path:
        """Return where a path really is.

        Raises:
            PackageError: Nowhere, or outside the package.
        """
        local = self._root / path
        hint = f"Copy what it names into the package, or name the link in {IGNORE_FILE}."
        try:
            real = local.resolve(strict=True)
        except (OSError, RuntimeError) as exc:  # RuntimeError: Python up to 3.12 about a link to itself
            raise PackageError(f"{path} is a link to nothing{_aim(local)}.", hint=hint) from exc
        if not real.is_relative_to(self._root):
            raise PackageError(f"{path} leads out of the package, to {real}.", hint=hint)
        return real

    def _file(self, path: str, *, link: bool) -> None:
        source = f"{self._root}/{path}"
        found = os.stat(source)  # noqa: PTH116 a Path for each of thousands of files takes longer than the rest
        if not stat.S_ISREG(found.st_mode):
            raise PackageError(
                f"{path} is {_kind(found.st_mode)}; a release holds files only.",
                hint=f"Remove it, or name it in {IGNORE_FILE}.",
            )
        name = f"{self._prefix}{_utf8(path)}"
        self.files[name] = self._memory.file(name, source, found, link=link)


def _utf8(path: str) -> str:
    """Return a path as it is on disk, in UTF-8, whatever encoding the user's locale reads names in.

    Raises:
        PackageError: It is in none.
    """
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError as exc:
        raise PackageError(f"The name of {os.fsencode(path)!r} is no UTF-8.", hint="Rename it.") from exc


def _on_disk(name: str) -> str:
    """Return a path as this system's functions take it, whatever encoding the user's locale has names in."""
    return os.fsdecode(name.encode())


def _aim(link: Path) -> str:
    return f" ({link.readlink()})" if link.is_symlink() else ""


def _kind(mode: int) -> str:
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device"
