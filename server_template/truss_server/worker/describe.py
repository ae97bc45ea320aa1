"""What can be called of a model and with which types, told without loading it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

from truss_server.protocol import MANIFEST, Manifest
from truss_server.worker.model import Model


def main() -> NoReturn:
    """Import the model of a release and write what its methods are like: `boot.py --describe --release DIR ...`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--describe", action="store_true")
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--environment", required=True)
    args = parser.parse_args()
    answer = os.dup(1)
    os.dup2(2, 1)  # what the model prints when it is imported is no part of the answer
    root = args.release.resolve()
    os.chdir(root)
    manifest = Manifest.from_json((root / MANIFEST).read_text(encoding="utf-8"))
    facts = Model(root, manifest, args.environment, asyncio.new_event_loop()).describe()
    with os.fdopen(answer, "w", encoding="utf-8") as file:
        json.dump(facts, file)
    sys.stderr.flush()
    os._exit(0)  # threads that the import has started may never end by themselves
