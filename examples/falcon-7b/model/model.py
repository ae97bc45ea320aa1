"""Streams text of a causal language model, token by token, on a GPU or without one."""

import queue
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    StoppingCriteria,
    TextIteratorStreamer,
)

MOST_PROMPT_TOKENS = 512
SECONDS_PER_TOKEN = 120.0
"""How long a single token may take before the stream is given up."""

SAMPLING = {"temperature": 1.0, "top_p": 0.95, "top_k": 40}


class Model:
    """The checkpoint that config.yaml names."""

    def __init__(self, **kwargs: Any) -> None:
        """Keep the settings of config.yaml and where data/ is."""
        self._settings = kwargs["config"]["model_metadata"]
        self._data_dir = Path(kwargs["data_dir"])
        self._device = ""
        self._tokenizer: Any = None
        self._model: Any = None

    def load(self) -> None:
        """Read the checkpoint onto the device."""
        name = self._settings["checkpoint"]
        local = self._data_dir / name
        source = str(local) if local.is_dir() else name
        self._device = _device(self._settings["device"])
        dtype = _dtype(self._settings["dtype"], self._device)
        self._tokenizer = AutoTokenizer.from_pretrained(source)
        self._model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype).to(self._device).eval()

    def predict(self, request: dict[str, Any]) -> Iterator[str]:
        """Stream what follows `prompt`; `do_sample`, `seed` and `max_new_tokens` are the request's to choose."""
        inputs = self._tokenizer(
            request["prompt"], return_tensors="pt", max_length=MOST_PROMPT_TOKENS, truncation=True
        ).to(self._device)
        limit = int(self._settings["max_new_tokens"])
        options: dict[str, Any] = {
            "input_ids": inputs["input_ids"],
            "attention_mask": inputs["attention_mask"],
            "pad_token_id": self._tokenizer.eos_token_id,
            "max_new_tokens": max(1, min(int(request.get("max_new_tokens", limit)), limit)),
            "do_sample": bool(request.get("do_sample", False)),
        }
        if options["do_sample"]:
            options.update(SAMPLING)
        # What is wrong with a request is found above, where it can still become an error answer.
        return self._stream(options, request.get("seed"))

    def _stream(self, options: dict[str, Any], seed: Any) -> Iterator[str]:
        """Yield text while a thread generates; the thread ends with the stream, however that ends."""
        streamer = TextIteratorStreamer(
            self._tokenizer, skip_prompt=True, timeout=SECONDS_PER_TOKEN, skip_special_tokens=True
        )
        unwanted = Event()
        failures: list[Exception] = []

        def generate() -> None:
            try:
                if seed is not None:
                    torch.manual_seed(int(seed))
                with torch.inference_mode():
                    self._model.generate(**options, streamer=streamer, stopping_criteria=[_Stop(unwanted)])
            except Exception as exc:  # noqa: BLE001 raised again below, where the stream ends
                failures.append(exc)
                streamer.end()

        thread = Thread(target=generate, daemon=True)
        thread.start()
        try:
            for text in streamer:
                if text:
                    yield text
        except queue.Empty:
            raise TimeoutError(f"no token came for {SECONDS_PER_TOKEN:g} s") from None
        finally:
            # Also when the client left: the server closes the generator then, and nobody waits for the rest.
            unwanted.set()
            thread.join(SECONDS_PER_TOKEN)
        if failures:
            raise failures[0]


class _Stop(StoppingCriteria):
    """Ends a generation before its next token once nobody wants it."""

    def __init__(self, unwanted: Event) -> None:
        self._unwanted = unwanted

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: Any) -> Any:
        return torch.full(
            (input_ids.shape[0],), self._unwanted.is_set(), dtype=torch.bool, device=input_ids.device
        )


def _device(name: str) -> str:
    """Return the device to run on."""
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype(name: str, device: str) -> torch.dtype:
    """Return the type of the weights."""
    if name == "auto":
        return torch.float32 if device == "cpu" else torch.bfloat16
    dtype = getattr(torch, name)
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype in config.yaml is {name!r}, which is no type of torch")
    return dtype
