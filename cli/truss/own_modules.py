"""The package's own modules: which of its files Python can import, under which names, and who imports whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from truss.definitions import Import, Source

INIT = "__init__.py"


@dataclass(frozen=True)
class Modules:
    """Own modules of a package.

    Args:
        sources: By path in the package.
        roots: Folders that are on `sys.path`: the package itself and its folder for packages.

    Attributes:
        opaque: Paths of Python files that could not be read.
    """

    sources: Mapping[str, Source]
    roots: tuple[str, ...]
    opaque: frozenset[str] = field(default=frozenset())

    def names(self, path: str) -> tuple[str, ...]:
        """Return the dotted names a file can be imported by."""
        return _names(path, self.roots)

    @cached_property
    def by_name(self) -> dict[str, str]:
        """The path of each module by its dotted names."""
        return {name: path for path in (*self.sources, *self.opaque) for name in self.names(path)}

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word in the dotted names of own modules."""
        return frozenset(word for name in self.by_name for word in name.split("."))

    def wanted(self, path: str) -> frozenset[str]:
        """Return the dotted names that a file imports, with those of the packages around them."""
        found: set[str] = set()
        for one in self.sources[path].imports if path in self.sources else ():
            for base in self._bases(path, one):
                found.update(_with_parents(base))
                found.update(f"{base}.{name}" if base else name for name in one.names)
        return frozenset(found)

    def _bases(self, path: str, one: Import) -> Iterator[str]:
        if one.level == 0:
            yield one.module
            return
        for name in self.names(path):
            parts = name.split(".")
            up = one.level - (1 if path.endswith(INIT) else 0)
            parts = parts[: len(parts) - up] if up else parts
            yield ".".join([*parts, one.module] if one.module else parts)

    @cached_property
    def imports(self) -> dict[str, frozenset[str]]:
        """The paths each file imports; one that imports by name may import any."""
        everything = frozenset(self.sources) | self.opaque
        found = {}
        for path, source in self.sources.items():
            wanted = {self.by_name[name] for name in self.wanted(path) if name in self.by_name}
            found[path] = everything if source.imports_by_name else frozenset(wanted)
        return found

    def held(self, paths: Iterable[str]) -> frozenset[str]:
        """Return which modules some files hold as objects, by `import a` or `from a import b`, and all below them."""
        names: set[str] = set()
        for path in paths:
            for one in self.sources[path].imports if path in self.sources else ():
                if "*" in one.names or self.sources[path].imports_by_name:
                    return frozenset(self.by_name.values())
                for base in self._bases(path, one):
                    names.update(f"{base}.{name}" if base else name for name in one.names)
                    names.update([] if one.names else _with_parents(base))
        found = {self.by_name[name] for name in names if name in self.by_name}
        folders = tuple(name + "." for name in names)
        return frozenset(found | {path for name, path in self.by_name.items() if name.startswith(folders)})

    def imported_from(self, path: str) -> frozenset[str]:
        """Return a file and all that it imports, directly or not, and the packages around them."""
        found: set[str] = set()
        todo = [path]
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo += [*self.imports.get(one, ()), *self._packages(one)]
        return frozenset(found)

    def importers(self, changed: Iterable[str], gone: Iterable[str]) -> frozenset[str]:
        """Return files and all that import them, directly or not.

        Args:
            changed: Paths that are there.
            gone: Dotted names of modules that are not any more.
        """
        users: dict[str, set[str]] = {}
        for path, imported in self.imports.items():
            for one in imported:
                users.setdefault(one, set()).add(path)
        lost = set(gone)
        todo = [*changed, *(path for path in self.sources if lost & self.wanted(path))]
        found: set[str] = set()
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                # A package holds its modules as attributes, so it is as new as they are.
                todo += [*users.get(one, ()), *self._packages(one)]
        return frozenset(found)

    def _packages(self, path: str) -> list[str]:
        around = [f"{folder}/{INIT}" for folder in PurePosixPath(path).parents if str(folder) != "."]
        return [one for one in around if one in self.sources and one != path]


@lru_cache(maxsize=1 << 16)  # thousands of paths are asked for at every save
def _names(path: str, roots: tuple[str, ...]) -> tuple[str, ...]:
    found = []
    for root in ("", *roots):
        if root and not path.startswith(f"{root}/"):
            continue
        parts = list(PurePosixPath(path[len(root) + 1 :] if root else path).with_suffix("").parts)
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if parts and all(part.isidentifier() for part in parts):
            found.append(".".join(parts))
    return tuple(found)


def _with_parents(dotted: str) -> Iterator[str]:
    while dotted:
        yield dotted
        dotted = dotted.rpartition(".")[0]
