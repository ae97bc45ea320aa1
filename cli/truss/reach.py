"""What `load()` of a model may use of the package's own code, found by names and without running any of it.

It starts from `__init__`, `setup_environment`, `load` and what else Python runs by itself when the model is made.
Every identifier in what is reached reaches every definition of that name, in any own module. That finds too much
rather than too little: what is reached is loaded again when it changes, what is not can be swapped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from truss.plain import ENTRIES, PLAIN_BASES, PLAIN_CALLS, PLAIN_DECORATORS, PLAIN_THIRD_PARTY, ROOTS, STORED
from truss.reached import Reach

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from truss.definitions import Definition
    from truss.facts import Facts
    from truss.own_modules import Modules
    from truss.reached import Key


def find_reach(modules: Modules, model_file: str, model_class: str) -> Reach:
    """Return what `load()` of a model reaches."""
    for leaks in (False, True):
        finder = _Finder(modules, modules.imported_from(model_file), leaks=leaks)
        if not finder.find_family(model_file, model_class):
            finder.reach.unknowable = f"`{model_class}` is not written as a class that can be followed"
            break
        finder.start()
        while finder.follow() or finder.follow_registrations():
            pass
        if finder.leaks == leaks:
            break
    return finder.reach


class _Finder:
    """Follows names until nothing new is found.

    Args:
        modules: Own modules.
        paths: Of those that the model can import.
        leaks: Whether code that is no method of the model may have it: any attribute may be one of the model then.

    Attributes:
        reach: What was found.
        leaks: Whether that was found to be so.
    """

    def __init__(self, modules: Modules, paths: Collection[str], *, leaks: bool) -> None:
        self.reach = Reach()
        self.leaks = leaks
        self._any_attribute = leaks
        self._handed = False  # to code of others, which may call any method
        self._held = modules.held(paths)
        self._modules = modules
        self._index: dict[str, list[tuple[str, Definition]]] = {}
        for path in paths:
            if path in modules.sources:
                for one in modules.sources[path].definitions:
                    for name in one.binds:
                        self._index.setdefault(name, []).append((path, one))
        self._methods: dict[str, list[tuple[Key, Definition]]] = {}
        self._model: Key = ("", "")
        self._classes: list[tuple[str, Definition]] = []
        self._todo: list[tuple[str, str, str]] = []
        self._seen: set[tuple[str, str]] = set()

    def find_family(self, path: str, name: str) -> bool:
        """Find the model's class and its own base classes; return whether it is there."""
        own = [one for where, one in self._index.get(name, ()) if where == path]
        if len(own) != 1:
            return False
        if own[0].kind == "class":
            self._model = (path, name)
        elif own[0].kind != "import":
            return False
        todo = {name} if own[0].kind == "import" else set()
        found = [(path, own[0])] if own[0].kind == "class" else []
        seen: set[str] = set()
        while todo or found:
            for place, one in found:
                if (place, one.binds[0]) not in self.reach.family:
                    self.reach.family.add((place, one.binds[0]))
                    self._classes.append((place, one))
                    todo |= one.bases
            names, todo, found = todo - seen, set(), []
            seen |= names
            for place, one in [entry for each in names for entry in self._index.get(each, ())]:
                if one.kind == "class":
                    found.append((place, one))
                elif one.kind == "import":
                    todo |= one.facts.names
        return bool(self.reach.family)

    def start(self) -> None:
        """Begin with what Python runs by itself: special methods, the roots, and the bodies of classes."""
        for path, one in self._classes:
            for method in one.methods:
                self._methods.setdefault(method.binds[0], []).append(((path, one.binds[0]), method))
        for path, one in self._classes:
            name = one.binds[0]
            self._take((path, name), one, name)
            self._todo += [(each, name, "name") for each in one.facts.names - one.bases]
            family = {name for _, name in self.reach.family}
            borrowed = any(each in self._index for each in one.facts.names - one.bases)  # `load = other_load`
            foreign = one.bases - family - PLAIN_BASES
            self.leaks |= borrowed or bool(foreign or one.facts.leaks)
            self._handed |= not all(self._is_module(each) for each in foreign)
            for place, base in [entry for each in one.bases for entry in self._index.get(each, ())]:
                if base.kind not in {"class", "import"}:  # `class Model(make_base()):`
                    self._reach(place, base, name)
            for method in one.methods:
                called = method.binds[0]
                special = called.startswith("__") and called.endswith("__")
                if called in ROOTS or special or method.early.names & STORED:
                    self._take((path, f"{name}.{called}"), method, called)
                    self._push(method, called, own=True)
        self._todo += [("__getattr__", "__getattr__", "name")]

    def follow(self) -> bool:
        """Follow all names that were found; return whether there were any."""
        if self._handed:
            names = self._methods.keys() - ENTRIES
            self._todo += [(name, "load", "own") for name in names if (name, "own") not in self._seen]
        any_new = bool(self._todo)
        while self._todo:
            name, root, kind = self._todo.pop()
            if (name, kind) in self._seen:
                continue
            self._seen.add((name, kind))
            for path, one in self._index.get(name, ()):
                if kind == "name" or path in self._held:
                    self._reach(path, one, root)
            self.leaks |= kind == "name" and any(name == model for _, model in self.reach.family)
            for (path, owner), method in self._methods.get(name, ()) if kind != "attribute" else ():
                self._take((path, f"{owner}.{name}"), method, root)
                self._push(method, root, own=True)
        return any_new

    def follow_registrations(self) -> bool:
        """Reach what puts itself, while it is imported, into something that is reached; return whether that is new."""
        touching = self.reach.touching = self._touching()
        found = False
        for path, one in self._all():
            noted = [
                part
                for part in one.parts
                if part.early.names & touching or part.early.changes & self.reach.state
            ]
            new = one.kind != "statement" and any((path, name) not in self.reach.via for name in one.binds)
            family = (path, one.binds[0]) in self.reach.family
            if new and (noted or (not family and any(self._notes(one, each) for each in one.noted))):
                self._reach(path, one, "load")
                found = True
            for method in noted if family else ():
                key = (path, f"{one.binds[0]}.{method.binds[0]}")
                if method is not one and key not in self.reach.via:
                    self._take(key, method, "load")
                    self._push(method, "load", own=True)
                    found = True
        return found

    def _notes(self, one: Definition, name: str) -> bool:
        """Return whether a decorator or base class of others, or an assignment's call, may register a definition."""
        if one.kind == "assignment":
            return True
        words = name.split(".")
        return not PLAIN_THIRD_PARTY & set(words) and any(
            each.kind == "import" and not each.harmless and not each.facts.names & self._modules.words
            for _, each in self._index.get(words[0], ())
        )

    def _touching(self) -> set[str]:
        """Return the names of functions and classes that change what is reached, directly or not."""
        found: set[str] = set()
        size = -1
        while size != len(found):
            size = len(found)
            for _, one in self._all():
                kind = one.kind in {"function", "class", "assignment"}
                if kind and not found.issuperset(one.binds) and self._touches(one, found):
                    found.update(one.binds)
        return found - {name for _, name in self.reach.family}

    def _touches(self, one: Definition, touching: set[str]) -> bool:
        parts = [part.facts for part in one.parts]
        if one.kind == "assignment":  # `register = REGISTRY.register`
            return bool(one.facts.changes & self.reach.state)
        if one.kind == "class" and self.reach.state.issuperset(one.binds):
            own = {"cls", "mcs", "metacls"}
            if any(part.changes & own for part in parts):
                return True
        return any(facts.changes & self.reach.state or facts.names & touching for facts in parts)

    def _all(self) -> Iterator[tuple[str, Definition]]:
        for entries in self._index.values():
            yield from entries

    def _reach(self, path: str, one: Definition, root: str) -> None:
        """Reach a definition at the top of a file."""
        key = (path, one.binds[0])
        if one.kind == "class" and key in self.reach.family:
            if key == self._model:
                return
            self.reach.whole.add(key)
        for name in one.binds:
            self._take((path, name), one, root)
            self._todo.append((name, root, "name"))
        if one.kind != "import":
            self.reach.state.update(one.binds)
        for part in one.parts:
            if part is not one:
                self._take((path, f"{one.binds[0]}.{part.binds[0]}"), part, root)
            self._push(part, root, own=False)

    def _take(self, key: Key, one: Definition, root: str) -> None:
        """Note that a definition is reached, and what in it cannot be followed."""
        if key in self.reach.via:
            return
        self.reach.via[key] = root
        self.reach.bound_globally.setdefault(key[0], set()).update(one.facts.bound_globally)
        reason = self._why_unknowable(one.facts)
        self.reach.unknowable = self.reach.unknowable or (f"`{key[1]}` uses {reason}" if reason else "")

    def _push(self, one: Definition, root: str, *, own: bool) -> None:
        """Follow what a definition mentions; `own` is said of methods of the model."""
        facts = one.facts
        self.leaks |= own and bool(facts.leaks or one.early.names - PLAIN_DECORATORS)
        self._handed |= own and not all(self._is_own(called) for called in facts.handed)
        for name in facts.names:
            kind = "attribute" if name in facts.attributes else "name"
            if kind == "attribute" and (self._any_attribute or (own and name in facts.own)):
                kind = "own"
            if (name, kind) not in self._seen:
                self._todo.append((name, root, kind))
        self.reach.state.update(facts.bound_globally)
        self.reach.used |= facts.names

    def _why_unknowable(self, facts: Facts) -> str:
        """Return what in a piece of code may mean any definition."""
        if facts.unknowable:
            return f"`{min(facts.unknowable)}`"
        if not all(self._is_foreign(name) for name in facts.asks):
            return "`getattr` with a name that is not written there"
        classes = {name for _, name in self.reach.family} | {"type()"}
        if facts.sets & classes:
            return "attributes of a class, which it sets"
        if any(self._is_module(name) for name in facts.sets):
            return "attributes of a module, which it sets"
        return ""

    def _is_foreign(self, name: str) -> bool:
        """Return whether a name stands for a module that is not the package's own: `getattr(torch, dtype)`."""
        bound = self._index.get(name, [])
        return bool(bound) and all(
            one.kind == "import" and not one.facts.names & self._modules.words for _, one in bound
        )

    def _is_own(self, called: str) -> bool:
        """Return whether what is called, dotted, is own code, or does nothing with what it is given."""
        base, _, rest = called.partition(".")
        kinds = {one.kind for _, one in self._index.get(base, ())}
        return (
            called in PLAIN_CALLS
            or bool({"function", "class"} & kinds)
            or self._is_module(base)
            or rest in self._methods
        )

    def _is_module(self, name: str) -> bool:
        """Return whether a name stands for an own module."""
        return any(
            one.kind == "import" and one.facts.names & self._modules.words
            for _, one in self._index.get(name, ())
        )
