"""What other servers reach in the same workloads, as published figures: they are not measured here.

Taken in November 2026 by the same method on one CPU of the same kind of machine: truss (the open-source tool of that
name) 0.18.35, Mosec 0.9.8, MLServer 1.7.1, Ray Serve 2.60.0, LitServe 0.2.19, BentoML 1.4.39, Cog 0.23.1.
"""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """The peers' figures in one workload, in the unit of ours.

    Attributes:
        best: Name of the best peer.
        value: What it reaches.
        truss: What the open-source truss reaches, where it does.
    """

    best: str
    value: float
    truss: float | None


PUBLISHED = {
    "W1 JSON echo, 1 connection": Published("Mosec", 0.43, 0.07),
    "W1 JSON echo, 16 connections": Published("Mosec", 0.35, 0.07),
    "W1 JSON echo, 64 connections": Published("Mosec", 0.35, 0.07),
    "W2 10,000 floats, 8 connections": Published("MLServer", 0.39, 0.08),
    "W3 sync generator, 1 stream": Published("Mosec", 0.11, 0.03),
    "W3 sync generator, 16 streams": Published("MLServer", 0.10, 0.04),
    "W3a async generator, 1 stream": Published("Ray", 0.27, 0.09),
    "W3a async generator, 16 streams": Published("Ray", 0.29, 0.10),
    "W4 64 paced streams, p99 of first chunk": Published("MLServer", 153, 128),
    "W4 64 paced streams, p99 of gap": Published("Mosec", 11, 29),
    "W5 idle memory": Published("truss", 55, 55),
    "W6 process start to ready": Published("Mosec", 0.61, 0.97),
    "W7 client leaves, async generator closed": Published("MLServer", 0, None),
    "W7 client leaves, sync generator closed": Published("Cog", 10, None),
}
"""By the name of the workload."""
