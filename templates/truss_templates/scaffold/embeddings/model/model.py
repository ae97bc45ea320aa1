"""A model behind OpenAI's embeddings: /v1/embeddings."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from typing import Any

DIMENSIONS = 256
MOST_DIMENSIONS = 4096


class Model:
    """Hashes words into vectors: texts that share words are near; put an encoder in the place of `_embed`."""

    def __init__(self, **kwargs: Any) -> None:
        """Keep the name that answers carry."""
        self._name = kwargs["config"]["model_name"]

    def load(self) -> None:
        """Load weights here; no request is answered before."""

    def embeddings(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return a vector for each input."""
        given = request["input"]
        inputs = [given] if isinstance(given, str) or _is_tokens(given) else given
        dimensions = int(request.get("dimensions") or DIMENSIONS)
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise ValueError(f"dimensions must be 1 to {MOST_DIMENSIONS}, not {dimensions}")
        words = [_words(item) for item in inputs]
        as_base64 = request.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": _encoded(_embed(item, dimensions), as_base64),
            }
            for index, item in enumerate(words)
        ]
        count = sum(map(len, words))
        usage = {"prompt_tokens": count, "total_tokens": count}
        return {"object": "list", "data": data, "model": request.get("model") or self._name, "usage": usage}

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer the same requests on /predict."""
        return self.embeddings(request)


def _is_tokens(given: list[Any]) -> bool:
    """Return whether an input is one list of token numbers, which OpenAI's API allows too."""
    return bool(given) and all(isinstance(item, int) for item in given)


def _words(item: str | list[int]) -> list[str]:
    """Return the words of a text, or the tokens that stand for them."""
    return item.lower().split() if isinstance(item, str) else [str(token) for token in item]


def _embed(words: list[str], dimensions: int) -> list[float]:
    """Return a vector of length 1, or of zeros where there are no words."""
    vector = [0.0] * dimensions
    for word in words:
        digest = hashlib.blake2b(word.encode("utf-8"), digest_size=8).digest()
        place, sign = struct.unpack(">Ii", digest)
        vector[place % dimensions] += 1.0 if sign >= 0 else -1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]


def _encoded(vector: list[float], as_base64: bool) -> list[float] | str:
    """Return a vector as the request wants it: numbers, or the base64 of 32-bit floats."""
    if not as_base64:
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
