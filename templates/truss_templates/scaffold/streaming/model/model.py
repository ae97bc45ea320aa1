"""A model that streams: `predict` is a generator, and each text it yields is sent at once."""

import random
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS_PER_WORD = 0.05
"""Stands for the time a real model takes to produce a token."""

MOST_WORDS = 500


class Model:
    """Continues a prompt with words that follow each other in data/words.txt."""

    def __init__(self, **kwargs: Any) -> None:
        """Keep where the words are."""
        self._data_dir = Path(kwargs["data_dir"])
        self._followers: dict[str, list[str]] = defaultdict(list)

    def load(self) -> None:
        """Learn which words follow which."""
        words = (self._data_dir / "words.txt").read_text(encoding="utf-8").split()
        for place, word in enumerate(words[:-1]):
            self._followers[word].append(words[place + 1])

    def predict(self, request: dict[str, Any]) -> Iterator[str]:
        """Stream the prompt's continuation; the same seed gives the same one."""
        prompt = str(request.get("prompt", ""))
        count = min(int(request.get("max_words", 60)), MOST_WORDS)
        chance = random.Random(request.get("seed"))
        # Only what runs before the first chunk can still become an error answer, so it is not in the generator.
        return self._continue(prompt.split()[-1:] or ["The"], count, chance)

    def _continue(self, words: list[str], count: int, chance: random.Random) -> Iterator[str]:
        word = words[0]
        for place in range(count):
            word = chance.choice(self._followers.get(word) or ["The"])
            yield word if place == 0 or word == "." else f" {word}"
            time.sleep(SECONDS_PER_WORD)
