"""The user's `Model`: imported, constructed, loaded, unloaded."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any, Callable

from truss_server.worker.failures import describe
from truss_server.worker.generations import CannotSwapError, Generation, own_modules
from truss_server.worker.methods import Method, ModelDefinitionError, find_methods
from truss_server.worker.secrets import Secrets
from truss_server.worker.signatures import signature_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from truss_server.protocol import Manifest

RETRIES_VARIABLE = "NUM_LOAD_RETRIES_TRUSS"
RETRY_SECONDS = 1.0


class Model:
    """An instance of the author's class and the loop its coroutines run in.

    Args:
        root: Folder of the release.
        manifest: Of the release.
        environment: Name of the environment the model runs in.
        loop: Will serve the model; not running yet.

    Attributes:
        methods: What it can be called by, once it is loaded.
        health: What answers whether it is healthy.
        roots: Folders that its code may come from, the newest first.
    """

    def __init__(
        self, root: Path, manifest: Manifest, environment: str, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.methods: dict[str, Method] = {}
        self.roots = [root]
        self._manifest = manifest
        self._environment = {"name": environment}
        self._loop = loop
        self._instance: Any = None
        self._generation: Generation | None = None

    def load(self, *, swaps: bool) -> None:
        """Import, construct and load. `load()` is tried again as often as NUM_LOAD_RETRIES_TRUSS says (1).

        Args:
            swaps: Whether `swapped` may be called later.

        Raises:
            ModelDefinitionError: No such class, or signatures that break the rules (all of them are named).
            Exception: Whatever the author's code raises.
        """
        self._show_package()
        if swaps:
            self._generation = Generation(self.roots[0], self._manifest.config["bundled_packages_dir"])
            own_modules.begin(self._generation)
        model_class = import_class(self._manifest.config)
        self._instance = model_class(**self._init_arguments(model_class))
        self._read()
        self._call("setup_environment", self._environment)
        self._load(int(os.environ.get(RETRIES_VARIABLE, "1")))

    def describe(self) -> dict[str, dict[str, Any]]:
        """Import the class; return what its methods are like. Neither `__init__` nor `load` runs.

        Raises:
            ModelDefinitionError: As for `load`, or it has no method before `__init__` has run.
            Exception: Whatever importing the code raises.
        """
        self._show_package()
        model_class = import_class(self._manifest.config)
        self._instance = model_class.__new__(model_class)
        self._read()
        return {name: method.facts() for name, method in self.methods.items()}

    def swapped(
        self, root: Path, manifest: Manifest, run: Sequence[str], keep: Mapping[str, Collection[str]]
    ) -> Model:
        """Return a model of new code that goes on with what this one has loaded; `__init__` and `load` do not run.

        Args:
            root: Folder of the new version.
            manifest: Of the new version.
            run: Files whose modules are executed again; see `Generation.following`.
            keep: Names whose objects stay what they are; likewise.

        Raises:
            CannotSwapError: The new code has to load itself.
            ModelDefinitionError: As for `load`.
            Exception: Whatever importing the new code raises.
        """
        if self._generation is None:
            raise CannotSwapError("this worker was not started for swaps")
        config = manifest.config
        new = Model(root, manifest, self._environment["name"], self._loop)
        new._generation = self._generation.following(root, config["bundled_packages_dir"], run, keep)
        new.roots = new._generation.roots
        with own_modules.showing(new._generation):
            model_class = import_class(config)
            new._instance = _take_over(model_class, self._instance)
            new._read()
            new._generation.close()
            own_modules.keep(new._generation)
        return new

    def when_forgotten(self, tell: Callable[[], None]) -> None:
        """Have something called when nothing of this model's code is left, on whichever thread."""
        if self._generation is not None:
            weakref.finalize(self._generation, tell).atexit = False

    def _show_package(self) -> None:
        """Let its code be imported."""
        (root,) = self.roots
        packages = root / self._manifest.config["bundled_packages_dir"]
        sys.path[:0] = [str(root), str(packages)] if packages.is_dir() else [str(root)]

    def _read(self) -> None:
        self.methods, self.health = find_methods(self._instance)

    def _load(self, retries: int) -> None:
        """Run the author's `load()` until it succeeds, or fails for the last time.

        A failure that is tried again is a line at once; its traceback follows, unless the last failure has the same.
        """
        log, before = logging.getLogger("truss"), ""
        for left in range(retries, -1, -1):
            try:
                self._call("load")
            except Exception as exc:
                told = describe(exc, self.roots, answers=False)
                trace = told.get("traceback", "")
                if before not in ("", trace):
                    log.warning("before that, load() had failed otherwise:\n%s", before)
                if not left:
                    raise
                line = str(told.get("message", "")).partition("\n")[0]
                log.warning("load() failed, trying again: %s: %s", type(exc).__name__, line)
                before = trace  # and not the exception: its frames would keep what was loaded
            else:
                if before:
                    log.warning("load() had failed before:\n%s", before)
                return
            time.sleep(RETRY_SECONDS)

    def unload(self) -> None:
        """Run the author's `unload()`, if there is one."""
        self._call("unload")

    def _call(self, name: str, *args: Any) -> None:
        function = getattr(self._instance, name, None)
        if function is None:
            return
        result = function(*args)
        if inspect.isawaitable(result):
            self._loop.run_until_complete(result)

    def _init_arguments(self, model_class: Any) -> dict[str, Any]:
        """Choose what `__init__` declares of what there is; `**kwargs` declares all of it."""
        config = self._manifest.config
        offered = {
            "config": config,
            "data_dir": self.roots[0] / config["data_dir"],
            "secrets": Secrets(config.get("secrets") or {}),
            "environment": self._environment,
        }
        parameters = signature_of(model_class).parameters.values()
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return offered
        required = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
        unknown = [p.name for p in required if p.name not in offered]
        if unknown:
            raise ModelDefinitionError(
                f"`{model_class.__name__}.__init__` asks for {', '.join(unknown)}; "
                f"it can have {', '.join(offered)}, by these names"
            )
        return {p.name: offered[p.name] for p in parameters if p.name in offered}


def import_class(config: dict[str, Any]) -> Any:
    """Import the author's class by its name in the package, so that its relative imports work.

    Raises:
        ModelDefinitionError: There is none of that name.
        Exception: Whatever the import raises.
    """
    file = config["model_class_filename"]
    parts = [*config["model_module_dir"].strip("/").split("/"), file[: -len(".py")]]
    if not all(part.isidentifier() for part in parts):
        raise ModelDefinitionError(f"{'/'.join(parts)}.py: folders and file must be names Python can import")
    module = importlib.import_module(".".join(parts))
    name = config["model_class_name"]
    try:
        return getattr(module, name)
    except AttributeError:
        raise ModelDefinitionError(f"{'/'.join(parts)}.py has no class `{name}`") from None


def _take_over(model_class: Any, running: Any) -> Any:
    """Return an instance of a class that shares the attributes of the one that runs.

    Raises:
        CannotSwapError: It cannot have all that the other one has, or would lose it with the other one's end.
    """
    if any(vars(one).get("__slots__") for one in type(running).__mro__):
        raise CannotSwapError("the class of the model has `__slots__`")
    if hasattr(running, "__del__"):
        raise CannotSwapError("the class of the model has a `__del__`, which would run for the old instance")
    try:
        instance = model_class.__new__(model_class)
        instance.__dict__ = running.__dict__
    except Exception as exc:
        raise CannotSwapError(f"an instance cannot be made without `__init__`: {exc}") from exc
    return instance
