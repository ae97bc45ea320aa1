"""Two versions of the code compared: may it be swapped under a loaded model, and what has to be executed again?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from truss.facts import FINDS_BY_NAME
from truss.reach import find_reach

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from truss.config import TrussConfig
    from truss.definitions import Definition
    from truss.own_modules import Modules
    from truss.reached import Key, Reach


@dataclass(frozen=True)
class CodeChange:
    """What a change of code asks for.

    Attributes:
        reason: Why the model has to be loaded again; empty where it need not be.
        file: What the reason is about.
        root: The part of the model's class that is affected.
        modules: Otherwise: paths of the modules that are executed again.
        keep: Names in them whose objects stay.
    """

    reason: str = ""
    file: str = ""
    root: str = ""
    modules: tuple[str, ...] = ()
    keep: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Side:
    """One version.

    Attributes:
        modules: Its modules.
        used: Paths the model can import.
        reach: What `load()` uses of them.
    """

    modules: Modules
    used: frozenset[str]
    reach: Reach

    @classmethod
    def of(cls, modules: Modules, config: TrussConfig) -> _Side:
        path = str(config.model_file)
        reach = find_reach(modules, path, config.model_class_name)
        return cls(modules, modules.imported_from(path), reach)

    def codes(self, path: str) -> dict[str, tuple[str, ...]]:
        """Return what each name at the top of a file stands for, by its code; methods of the model's class apart."""
        found: dict[str, tuple[str, ...]] = {}
        for one in self.definitions(path):
            taken_apart = one.kind == "class" and (path, one.binds[0]) in self.reach.family
            for name in one.binds:
                found[name] = (*found.get(name, ()), one.code if taken_apart else one.whole_code)
            for method in one.methods if taken_apart else ():
                key = f"{one.binds[0]}.{method.binds[0]}"
                found[key] = (*found.get(key, ()), method.code)
        return found

    def statements(self, path: str) -> list[Definition]:
        """Return what a file does, other than to define and to import, when it is imported."""
        return [one for one in self.definitions(path) if one.kind == "statement"]

    def unknowable(self) -> str:
        """Return why nobody can tell what a swap would affect: what `load()` uses, or what finds code by name."""
        if self.reach.unknowable:
            return f"nobody can tell what `load` uses: {self.reach.unknowable}"
        for path in sorted(self.used):
            for one in self.definitions(path):
                ways = frozenset().union(*(part.facts.unknowable for part in one.parts)) & FINDS_BY_NAME
                if ways:
                    return f"{path} uses `{min(ways)}`, which finds code by names that are not written there"
        return ""

    def definitions(self, path: str) -> tuple[Definition, ...]:
        """Return what a file says; nothing where the model cannot import it."""
        return (
            self.modules.sources[path].definitions if path in self.used & self.modules.sources.keys() else ()
        )


def compare_code(old: Modules, new: Modules, config: TrussConfig, edited: AbstractSet[str]) -> CodeChange:
    """Return what a change of code asks for.

    Args:
        old: What runs.
        new: What is on disk.
        config: Which class of which file is the model.
        edited: Paths of Python files that are new, different or gone.
    """
    before, after = _Side.of(old, config), _Side.of(new, config)
    used = sorted(edited & (before.used | after.used))
    apart = sorted(edited - before.used - after.used)
    if apart:  # it may be run as a program, or imported by code of others
        return CodeChange(f"{apart[0]} changed, which no code of the package imports", apart[0])
    if not used:
        return CodeChange()
    unread = [f"{path} could not be read" for path in used if path in old.opaque | new.opaque]
    unknowable = min(unread, default="") or before.unknowable() or after.unknowable()
    if unknowable:
        return CodeChange(unknowable, min(edited & (old.opaque | new.opaque), default=used[0]))
    for path in sorted({*used, *(before.used ^ after.used)}):
        change = _affects_load(before, after, path)
        if change is not None:
            return change
    gone = [name for path in edited if path not in new.sources for name in old.names(path)]
    return _swap(after, new, used, gone)


def _swap(after: _Side, new: Modules, used: Sequence[str], gone: Sequence[str]) -> CodeChange:
    """Return which modules are to be executed again, or why they cannot be."""
    missing = [
        path for path in sorted(after.used & new.sources.keys()) if new.wanted(path).intersection(gone)
    ]
    if missing:  # where it is still in memory, or on the path, nobody would miss it
        return CodeChange(f"{missing[0]} imports what was deleted", missing[0])
    present = [path for path in used if path in new.sources]
    modules = sorted(new.importers(present, gone) & after.used)
    for path in modules:
        change = _cannot_run_again(after, path)
        if change is not None:
            return change
    return CodeChange(modules=tuple(modules), keep=_kept(after, modules))


def _affects_load(before: _Side, after: _Side, path: str) -> CodeChange | None:
    """Return why the change of one file asks for a load."""
    if [one.code for one in before.statements(path)] != [one.code for one in after.statements(path)]:
        return CodeChange(f"what {path} does when it is imported changed", path)
    acting = _acting_import(before, after, path)
    if acting:
        return CodeChange(f"{path} no longer or newly imports `{acting}`, which it does not use", path)
    old, new = before.codes(path), after.codes(path)
    for name in sorted({*old, *new}, key=lambda name: ("." in name, name)):
        if old.get(name) == new.get(name):
            continue
        root = after.reach.via.get((path, name)) or before.reach.via.get((path, name))
        if root is None:
            continue
        did = "is new" if name not in old else "is gone" if name not in new else "changed"
        own = (
            name.rpartition(".")[2] if name.rpartition(".")[0] in _model_names(before, after, path) else name
        )
        reason = f"`{own}` {did}" if own == root else f"`{root}` uses `{own}`, which {did}"
        return CodeChange(reason, path, root)
    if _order(before, after, path) != _order(after, before, path):
        return CodeChange(f"the order of what `load` uses in {path} changed", path)
    return None


def _order(side: _Side, other: _Side, path: str) -> list[str]:
    """Return the reached names, in both versions, whose order may tell: assigned, or with a decorator or a base."""
    return [
        name
        for one in side.definitions(path)
        if one.noted or one.kind == "assignment"
        for name in one.binds
        if (path, name) in side.reach.via and (path, name) in other.reach.via
    ]


def _acting_import(before: _Side, after: _Side, path: str) -> str:
    """Return an import that came or went and that its file does not use: it may be there for what it does."""
    old, new = (
        {
            (one.binds[0], one.code)
            for one in side.definitions(path)
            if one.kind == "import" and not one.harmless
        }
        for side in (before, after)
    )
    mentioned = {
        name
        for side in (before, after)
        for one in side.definitions(path)
        for part in one.parts
        if one.kind != "import"
        for name in part.facts.names
    }
    return min({name for name, _ in old ^ new} - mentioned, default="")


def _model_names(before: _Side, after: _Side, path: str) -> set[str]:
    return {name for where, name in before.reach.family | after.reach.family if where == path}


def _cannot_run_again(side: _Side, path: str) -> CodeChange | None:
    """Return why a file cannot be executed again beside what `load()` made."""
    reached = {name for where, name in side.reach.via if where == path}
    bound = sorted(side.reach.bound_globally.get(path, ()))
    if bound:  # a thread goes on to bind it in the module that ran before
        return CodeChange(f"`load` uses code that declares `global {bound[0]}`", path, "load")
    for one in side.definitions(path):
        held = sorted(one.makes & side.reach.used)
        if held and not _stays(side.reach, (path, one.binds[0]), one):
            reason = f"`load` uses `{held[0]}`, which `{one.binds[0]}` makes anew in its body"
            return CodeChange(reason, path, "load")
    for one in side.statements(path):
        changes = (one.early.changes | one.early.sets) & side.reach.state
        names = sorted(changes) or sorted(one.facts.names & side.reach.touching)
        if names:
            reason = f"{path} changes `{names[0]}` when it is imported, which `load` uses"
            return CodeChange(reason, path, "load")
        if not one.harmless and reached & set(one.binds):
            name = min(reached & set(one.binds))
            return CodeChange(f"`load` uses `{name}`, which {path} binds in a block", path, "load")
    for one in side.definitions(path):
        if one.effect and not all(_stays(side.reach, (path, name), one) for name in one.binds or ("",)):
            return CodeChange(f"line {one.effect} of {path} does what a swap would do twice", path)
    return None


def _kept(side: _Side, modules: list[str]) -> dict[str, tuple[str, ...]]:
    """Return the names in modules that `load()` used: what they stand for stays."""
    keep = {}
    for path in modules:
        names = {
            name
            for one in side.modules.sources[path].definitions
            for name in one.binds
            if _stays(side.reach, (path, name), one)
        }
        if names:
            keep[path] = tuple(sorted(names))
    return keep


def _stays(reach: Reach, key: Key, one: Definition) -> bool:
    taken_apart = key in reach.family and key not in reach.whole
    return key in reach.via and one.kind in {"function", "class", "assignment"} and not taken_apart
