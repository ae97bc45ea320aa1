"""What `load()` of a model was found to use, by path and name."""

from __future__ import annotations

from dataclasses import dataclass, field

Key = tuple[str, str]
"""A path, and a name that is bound there: `MAX_TOKENS`, `Model` for a class without its methods, `Model.load`."""


@dataclass
class Reach:
    """What is reached.

    Attributes:
        via: The name in the model's class from which each definition is reached.
        family: The model's class and its own base classes, as (path, name): taken apart into methods.
        whole: Those of the family that are also used as a whole.
        state: Names of reached assignments, functions and classes: what may be changed in place.
        touching: Names of functions and classes that change what is reached.
        used: Every identifier in reached functions, and in reached classes but for the bodies of the family.
        bound_globally: Names that reached code declares `global`, by path.
        unknowable: Why nobody can tell what is reached, empty where one can.
    """

    via: dict[Key, str] = field(default_factory=dict)
    family: set[Key] = field(default_factory=set)
    whole: set[Key] = field(default_factory=set)
    state: set[str] = field(default_factory=set)
    touching: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    bound_globally: dict[str, set[str]] = field(default_factory=dict)
    unknowable: str = ""
