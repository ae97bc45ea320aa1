"""Names whose meaning is known: who calls a method, and which decorators and bases do nothing behind one's back."""

from __future__ import annotations

ROOTS = ("__init__", "setup_environment", "load")

ENTRIES = frozenset(
    {"predict", "preprocess", "postprocess", "websocket", "is_healthy", "unload"}
    | {"chat_completions", "completions", "embeddings", "messages", "responses"}
)
"""Methods that the server calls once the model is loaded."""

STORED = frozenset({"cached_property"})
"""Decorators of methods whose values the instance takes along."""

PLAIN_CALLS = frozenset(
    {"super", "isinstance", "type", "id", "print", "getattr", "hasattr", "setattr", "delattr"}
)
"""What calls no method of what it is given but by names that are found elsewhere."""

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
