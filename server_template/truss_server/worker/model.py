"""The user's `Model`: imported, constructed, loaded, and its methods as the worker calls them."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any, Callable

from truss_server.worker.signatures import Arguments, SignatureError, read_arguments

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from truss_server.protocol import Manifest

ENDPOINTS = ("chat_completions", "completions", "embeddings", "messages", "responses")
"""Methods that are served on a /v1 route of their own."""


class ModelDefinitionError(Exception):
    """The author's class cannot be served as it is written."""


@dataclass(frozen=True)
class Stage:
    """One function of a method: `preprocess`, `predict`, `postprocess` or an endpoint."""

    function: Callable[..., Any]
    arguments: Arguments
    is_async: bool


@dataclass(frozen=True)
class Method:
    """What a route calls: one stage, or up to three for predict.

    Attributes:
        stages: In the order they run; the result of each is the inputs of the next.
        inputs: Whether the request's body must be parsed.
        request: Whether a stage takes the request.
        is_async: Whether any stage is a coroutine function; it runs on the event loop then.
        watches: Whether it asks the request for the disconnect: then it ends its work itself when it looks the next
            time, and is not cancelled before.
    """

    stages: tuple[Stage, ...]
    inputs: bool
    request: bool
    is_async: bool
    watches: bool


def load_model(
    root: Path, manifest: Manifest, environment: str, loop: asyncio.AbstractEventLoop
) -> dict[str, Method]:
    """Import, construct and load the model of a release.

    Args:
        root: Folder of the release, also the current directory.
        manifest: Of the release.
        environment: Name of the environment the model runs in.
        loop: Will serve the model, and runs an `async def load`.

    Returns:
        The methods it can be called by, by name.

    Raises:
        ModelDefinitionError: No such class, or signatures that break the rules (all of them are named).
        Exception: Whatever the author's code raises.
    """
    model_class = _import_class(root, manifest.config)
    model = model_class(**_init_arguments(model_class, root, manifest, environment))
    methods = find_methods(model)
    load = getattr(model, "load", None)
    if load is not None:
        result = load()
        if inspect.isawaitable(result):
            loop.run_until_complete(result)
    return methods


def _import_class(root: Path, config: dict[str, Any]) -> Any:
    """Import the author's module by its name in the package, so that its relative imports work."""
    sys.path.insert(0, str(root))
    packages = root / config["bundled_packages_dir"]
    if packages.is_dir():
        sys.path.insert(1, str(packages))
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


def _init_arguments(model_class: Any, root: Path, manifest: Manifest, environment: str) -> dict[str, Any]:
    """Choose what `__init__` declares of what there is; `**kwargs` declares all of it."""
    offered = {
        "config": manifest.config,
        "data_dir": root / manifest.config["data_dir"],
        "secrets": {},
        "environment": {"name": environment},
    }
    parameters = inspect.signature(model_class).parameters.values()
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


def find_methods(model: Any) -> dict[str, Method]:
    """Return the callable methods of a model.

    Raises:
        ModelDefinitionError: Signatures break the rules, or there is nothing to call. All violations are named.
    """
    violations: list[str] = []
    stages: dict[str, Stage] = {}
    for name in ("preprocess", "predict", "postprocess", *ENDPOINTS):
        function = getattr(model, name, None)
        if function is None:
            continue
        try:
            stages[name] = Stage(function, read_arguments(function, name), _is_async(function))
        except SignatureError as exc:
            violations.append(f"{_place(function)}: {exc}")
    violations += _broken_rules(stages)
    if not stages and not violations:
        violations.append("it has none of the methods predict, " + ", ".join(ENDPOINTS))
    if violations:
        raise ModelDefinitionError(
            f"`{type(model).__name__}` cannot be served:\n" + "\n".join(f"  {line}" for line in violations)
        )
    methods = {name: _method(stages[name]) for name in ENDPOINTS if name in stages}
    if "predict" in stages:
        chain = [stages[name] for name in ("preprocess", "predict", "postprocess") if name in stages]
        methods["predict"] = _method(*chain)
    return methods


def _broken_rules(stages: dict[str, Stage]) -> list[str]:
    """The specification's rules for how the three stages fit together."""
    predict = stages.get("predict")
    violations = [
        f"{_place(stages[name].function)}: `{name}` without `predict` is never called"
        for name in ("preprocess", "postprocess")
        if name in stages and predict is None
    ]
    if "preprocess" in stages and predict is not None and _request_only(predict):
        violations.append(
            f"{_place(predict.function)}: `predict` takes only the request, so the result of `preprocess` would be "
            "lost; let it take the inputs first"
        )
    if "postprocess" in stages and _request_only(stages["postprocess"]):
        violations.append(
            f"{_place(stages['postprocess'].function)}: `postprocess` takes only the request, so the result of "
            "`predict` would be lost; let it take the inputs first"
        )
    return violations


def _request_only(stage: Stage) -> bool:
    return stage.arguments.request is not None and not stage.arguments.inputs


def _method(*chain: Stage) -> Method:
    codes = [getattr(inspect.unwrap(stage.function), "__code__", None) for stage in chain]
    return Method(
        stages=chain,
        inputs=chain[0].arguments.inputs,
        request=any(stage.arguments.request is not None for stage in chain),
        is_async=any(stage.is_async for stage in chain),
        watches=any(_mentions(code, "is_disconnected") for code in codes if code is not None),
    )


def _mentions(code: CodeType, name: str) -> bool:
    """Tell whether a function, or one inside it, uses an attribute of a name."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return name in code.co_names or any(_mentions(one, name) for one in inner)


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _place(function: Callable[..., Any]) -> str:
    """Return `file:line` of a function, the file as the package names it."""
    code: Any | None = getattr(inspect.unwrap(function), "__code__", None)
    return "?" if code is None else f"{os.path.relpath(code.co_filename)}:{code.co_firstlineno}"
