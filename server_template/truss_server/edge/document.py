"""Write the OpenAPI document of a release without serving it: `python -m truss_server.edge.document --release DIR ...`.

An image has it in a label. The model's class is imported for it, by a process of its own, and not loaded.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from truss_server.edge.api import create_api
from truss_server.edge.logs import Log
from truss_server.edge.metrics import Metrics
from truss_server.edge.openapi import add_model
from truss_server.edge.probes import Probes
from truss_server.edge.settings import read_settings
from truss_server.edge.supervisor import Supervisor
from truss_server.edge.worker import BOOT

if TYPE_CHECKING:
    from truss_server.edge.settings import Settings
    from truss_server.edge.version import Version


def ask_model(version: Version) -> dict[str, Any]:
    """Return what the methods of a version's model are like.

    Raises:
        CalledProcessError: It cannot be imported; the traceback is on stderr.
    """
    command = [version.python, str(BOOT), "--describe", "--release", str(version.root)]
    done = subprocess.run(
        [*command, "--environment", version.environment],
        env=version.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


async def describe(settings: Settings) -> dict[str, Any]:
    """Return the document that a server with this model shows."""
    log, metrics = Log(), Metrics()
    supervisor = Supervisor(settings, metrics, log)
    api = create_api(settings, supervisor, Probes(settings, supervisor, metrics))
    log.close()
    return add_model(api.openapi(), ask_model(settings.version))


def main() -> int:
    """Write the document, the same byte for byte whenever it says the same; return the exit code."""
    try:
        document = asyncio.run(describe(read_settings()))
    except subprocess.CalledProcessError:
        return 1
    sys.stdout.write(json.dumps(document, sort_keys=True, separators=(",", ":")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
