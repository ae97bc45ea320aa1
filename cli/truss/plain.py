"""Decorators and base classes that are known to do nothing behind the back of the code that names them."""

from __future__ import annotations

PLAIN_BASES = frozenset({"object", "ABC", "abc", "ABCMeta", "metaclass", "Protocol", "Generic", "typing"})
"""What in the head of a class hands its instances to nobody."""

PLAIN_DECORATORS = frozenset(
    {"property", "staticmethod", "classmethod", "cached_property", "functools", "abstractmethod", "abc"}
    | {"override", "typing", "torch", "no_grad", "inference_mode"}
)
"""Decorators that hand the instance to nobody but the method."""

PLAIN_THIRD_PARTY = frozenset(
    {"torch", "nn", "Module", "no_grad", "inference_mode", "numba", "jit", "njit", "vectorize", "pydantic"}
    | {"BaseModel", "BaseSettings", "validator", "field_validator", "model_validator", "validate_call"}
    | {"typing_extensions", "override", "TypedDict", "attr", "attrs", "define", "frozen"}
    | {"tenacity", "retry", "backoff", "StoppingCriteria", "LogitsProcessor"}
)
"""Words of decorators and base classes of others that put nothing into a registry."""
