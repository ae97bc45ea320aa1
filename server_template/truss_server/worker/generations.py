"""The package's own modules, one set for each generation of its code, side by side in one process.

`sys.modules` shows one generation at a time: the newest, but for the moment in which code of an older one imports
something of the package. Modules that did not change, and import nothing that did, are shared between generations.
"""

from __future__ import annotations

import ast
import builtins
import os
import sys
import threading
from contextlib import contextmanager
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

PATIENCE = 30.0
"""Seconds that an import waits for other threads to end imports of another generation."""

_python_import = builtins.__import__


class CannotSwapError(Exception):
    """A new version cannot take over what the running one has loaded; it has to be loaded itself."""


class BusyError(CannotSwapError, ImportError):
    """Another generation's modules are being imported, and do not come to an end."""


class Generation:
    """One version of the package's code.

    Args:
        root: Folder of the version.
        packages: Folder of its bundled packages, relative to the root.

    Attributes:
        roots: Folders of its version and of those before it that it shares modules with.
        paths: Folders that its modules are imported from.
        modules: Those that were imported, by name, while `sys.modules` shows another generation.
        places: Where modules that were found lie, by name: a file; of a package also its folder, with a slash.
    """

    def __init__(self, root: Path, packages: str) -> None:
        self.roots = [root]
        self.paths = [str(root), str(root / packages)]
        self.modules: dict[str, ModuleType] = {}
        self.places: dict[str, list[str]] = {}
        self._before: Generation | None = None
        self._keep: Mapping[str, Collection[str]] = {}
        self._known: dict[str, ModuleType] = {}  # that were imported to the end
        # A name of the package stays one where a version no longer has it: importing it then fails as it should.
        self._tops = {path.stem for folder in self.paths for path in Path(folder).glob("*")}

    def following(
        self, root: Path, packages: str, run: Sequence[str], keep: Mapping[str, Collection[str]]
    ) -> Generation:
        """Return the next generation; what it shares with this one is in it, and nothing is imported yet.

        Args:
            root: Folder of its version.
            packages: As for the class.
            run: Files, relative, that are to be executed again: what changed, and all that imports it.
            keep: Names at the top level of a file whose objects stay those of this generation, by file.
        """
        new = Generation(root, packages)
        new.roots += self.roots
        new._before, new._keep = self, keep
        for name, places in tuple(self.places.items()):  # requests may import meanwhile
            if name in sys.modules and not any(_is_at(path, place) for path in run for place in places):
                new.modules[name] = sys.modules[name]
                new.places[name] = places
        return new

    def found(self, spec: ModuleSpec) -> None:
        """Note a module that is about to be imported, which is then executed as one of this generation."""
        self.places[spec.name] = [
            self._relative(folder) + "/" for folder in spec.submodule_search_locations or ()
        ]
        if spec.origin is not None:
            self.places[spec.name].append(self._relative(spec.origin))
        if type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.name, cast("str", spec.origin), self)

    def prepare(self, module: ModuleType, file: str) -> Collection[str]:
        """Give a module what it has before it is executed; return the names it keeps.

        Raises:
            CannotSwapError: The generation before has no such name.
        """
        space = vars(module)
        for name, shared in self.modules.items():  # a package is new, and modules in it may be shared
            if name.rpartition(".")[0] == module.__name__:
                space[name.rpartition(".")[2]] = shared
        keep = self._keep.get(self._relative(file), ())
        if keep and self._before is not None:
            running = vars(self._before.modules.get(module.__name__, builtins))
            missing = [name for name in keep if name not in running]
            if missing:
                raise CannotSwapError(
                    f"{self._relative(file)} has no {', '.join(missing)} that could be kept"
                )
            space.update({name: running[name] for name in keep})
        return keep

    def close(self) -> None:
        """Forget the generation before."""
        self._before = None

    def _relative(self, path: str) -> str:
        """Return a path as the package names it; modules of a shared package lie in the version it is of."""
        return next(
            Path(path).relative_to(root).as_posix() for root in self.roots if Path(path).is_relative_to(root)
        )

    def import_module(self, name: str, space: Any, local: Any, fromlist: Any, level: int) -> Any:
        """Do what `__import__` does for code of this generation: names of the package are its own.

        Others that import another generation, a swap that takes its time above all, are waited for only where
        something is imported for the first time.
        """
        if level == 0 and name.partition(".")[0] not in self._tops:
            return _python_import(name, space, local, fromlist, level)
        full = _absolute(name, space, level)
        module = self._known.get(full)
        if module is not None and all(hasattr(module, one) for one in fromlist or ()):
            return module if fromlist else self._known.get(full.partition(".")[0], module)
        with own_modules.showing(self):
            found = _python_import(name, space, local, fromlist, level)
            for each in (full, full.partition(".")[0]):
                module = sys.modules.get(each)
                if module is not None and not getattr(module.__spec__, "_initializing", False):
                    self._known[each] = module
        return found


def _absolute(name: str, space: Any, level: int) -> str:
    """Return the name of a module that is imported relative to the code of a namespace."""
    if level == 0:
        return name
    above = str(space.get("__package__") or "").rsplit(".", level - 1)[0]
    return f"{above}.{name}" if name else above


def _import(
    name: str,
    globals: Any = None,  # noqa: A002 - as `__import__` names it
    locals: Any = None,  # noqa: A002 - likewise
    fromlist: Any = (),
    level: int = 0,
) -> Any:
    """Stands for `__import__`: whose code imports shows in its namespace."""
    loader = getattr(globals.get("__spec__"), "loader", None) if globals else None
    if type(loader) is _Loader:
        return loader.generation.import_module(name, globals, locals, fromlist, level)
    return _python_import(name, globals, locals, fromlist, level)


def _is_at(path: str, place: str) -> bool:
    return path == place or (place.endswith("/") and path.startswith(place))


class _Loader(SourceFileLoader):
    """Executes a file as a module of a generation, without the statements that would make anew what is kept."""

    def __init__(self, name: str, path: str, generation: Generation) -> None:
        super().__init__(name, path)
        self.generation = generation

    def exec_module(self, module: ModuleType) -> None:
        """Execute the file; part of importlib.abc.Loader."""
        with own_modules.showing(self.generation):  # `importlib.import_module` comes here without
            self._execute(module)

    def _execute(self, module: ModuleType) -> None:
        keep = self.generation.prepare(module, self.path)
        if not keep:
            super().exec_module(module)
            return
        tree = ast.parse(self.get_data(self.path), self.path)
        tree.body = [statement for statement in tree.body if not _makes_only(statement, keep)]
        exec(compile(tree, self.path, "exec", dont_inherit=True), vars(module))  # noqa: S102 - what importing is


def _makes_only(statement: ast.stmt, names: Collection[str]) -> bool:
    """Tell whether all that a statement does is to bind names out of `names`."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return statement.name in names
    if isinstance(statement, ast.Assign):
        return all(_binds_only(target, names) for target in statement.targets)
    return isinstance(statement, ast.AnnAssign) and _binds_only(statement.target, names)


def _binds_only(target: ast.expr, names: Collection[str]) -> bool:
    if isinstance(target, (ast.Tuple, ast.List)):
        return all(_binds_only(part, names) for part in target.elts)
    if isinstance(target, ast.Starred):
        return _binds_only(target.value, names)
    return isinstance(target, ast.Name) and target.id in names


class OwnModules:
    """Which generation `sys.modules`, `sys.path` and the import system show.

    Threads that import modules of the shown generation use it side by side: a module may wait for another thread
    that imports one, too. Only what shows another generation waits, until no other thread uses this one.
    """

    def __init__(self) -> None:
        self._shown: Generation | None = None
        self._newest: Generation | None = None  # shown while nobody uses another one
        self._users: dict[int, int] = {}  # of the shown one: thread -> how many uses of it are nested
        self._changed = threading.Condition()

    def begin(self, generation: Generation) -> None:
        """Show the first generation, whose folders are on `sys.path`."""
        self._shown = self._newest = generation
        sys.meta_path.insert(0, cast("Any", self))
        builtins.__import__ = _import
        os.register_at_fork(after_in_child=self._forked)

    @contextmanager
    def showing(self, generation: Generation) -> Iterator[None]:
        """Show a generation while the block runs.

        Raises:
            BusyError: Other threads have used another one for too long.
        """
        me = threading.get_ident()
        with self._changed:
            before = self._shown
            self._show(generation, me)
            self._users[me] = self._users.get(me, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                self._users[me] -= 1
                if self._users[me]:
                    self._show(before, me)
                else:
                    del self._users[me]
                    if not self._users:
                        self._switch(self._newest)
                    self._changed.notify_all()

    def keep(self, generation: Generation) -> None:
        """Show a generation from now on, as soon as nobody uses another one."""
        with self._changed:
            self._newest = generation
            if not self._users:
                self._switch(generation)

    def _show(self, generation: Generation | None, me: int) -> None:
        """Switch when no other thread uses what is shown."""

        def may() -> bool:
            return self._shown is generation or not self._users.keys() - {me}

        if not self._changed.wait_for(may, PATIENCE):
            raise BusyError(f"other code of this model has been importing its modules for {PATIENCE:g} s")
        self._switch(generation)

    def _switch(self, generation: Generation | None) -> None:
        before = self._shown
        if generation is before or before is None or generation is None:
            return
        before.modules = {name: sys.modules.pop(name) for name in tuple(before.places) if name in sys.modules}
        sys.modules.update(generation.modules)
        for old, new in zip(before.paths, generation.paths):
            sys.path[:] = [new if path == old else path for path in sys.path]
        self._shown = generation

    def _forked(self) -> None:
        """Forget the threads that a forked child does not have."""
        me = threading.get_ident()
        self._changed = threading.Condition()
        self._users = {me: self._users[me]} if me in self._users else {}

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:  # noqa: ARG002
        """Find a module of the package; part of importlib.abc.MetaPathFinder."""
        generation = self._shown
        if generation is None or (path is not None and name.rpartition(".")[0] not in generation.places):
            return None
        spec = PathFinder.find_spec(name, generation.paths if path is None else path)
        if spec is not None:
            generation.found(spec)
        return spec


own_modules = OwnModules()
"""Of this process, as `sys.modules` is."""
