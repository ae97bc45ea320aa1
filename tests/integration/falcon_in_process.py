"""Runs in an environment with torch: makes a tiny Falcon checkpoint, and says what it generates in process.

Called as `python falcon_in_process.py FOLDER REQUEST`; writes the checkpoint to FOLDER and one JSON object to stdout.
"""

from __future__ import annotations

import json
import sys

import torch
from tokenizers import (  # type: ignore[import-not-found]
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    trainers,
)
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    FalconConfig,
    FalconForCausalLM,
    PreTrainedTokenizerFast,
)

CORPUS = """
The falcon is a bird of prey. Falcons fly faster than any other animal: a peregrine falcon that dives for a pigeon
reaches three hundred kilometres an hour. Young falcons have longer feathers, which makes their flight more like that
of a hawk and lets them learn; when they are a year old they have the wings of their parents. They kill with the beak,
where hawks and eagles kill with their feet, and they lay their eggs on bare rock, in trees or on tall buildings.
"""
END = "<|endoftext|>"
NEW_TOKENS = 60
"""Not the model's to choose: it never ends by itself, so that there is something to stream."""


def make_checkpoint(folder: str) -> None:
    """Write a model with random weights and a tokenizer trained on a few sentences."""
    tokenizer = Tokenizer(models.BPE(unk_token=END))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        [CORPUS], trainers.BpeTrainer(vocab_size=300, special_tokens=[END], show_progress=False)
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=END, eos_token=END)
    torch.manual_seed(0)
    config = FalconConfig(
        vocab_size=len(fast),
        hidden_size=256,
        num_hidden_layers=8,
        num_attention_heads=8,
        bos_token_id=None,
        eos_token_id=None,
    )
    FalconForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)


def generate(folder: str, request: dict[str, object]) -> str:
    """Return what the checkpoint generates, the way its users are shown: one call, no streamer."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = tokenizer(request["prompt"], return_tensors="pt")
    torch.manual_seed(request["seed"])
    with torch.inference_mode():
        output = model.generate(
            **{name: inputs[name] for name in ("input_ids", "attention_mask")},
            pad_token_id=tokenizer.eos_token_id,
            max_new_tokens=NEW_TOKENS,
            do_sample=request["do_sample"],
            temperature=1.0,
            top_p=0.95,
            top_k=40,
        )
    text: str = tokenizer.decode(output[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text


if __name__ == "__main__":
    _, destination, sent = sys.argv
    make_checkpoint(destination)
    sys.stdout.write(json.dumps({"text": generate(destination, json.loads(sent)), "new_tokens": NEW_TOKENS}))
