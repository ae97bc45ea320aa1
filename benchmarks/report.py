"""The server's figures as a page of the documentation, with the chart beside it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import StrictUndefined, Template

from benchmarks import peers
from benchmarks.chart import draw
from benchmarks.figures import format_markdown
from benchmarks.rates import load_tool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.figures import Figure

PACKAGES = ("uvicorn", "uvloop", "httptools", "msgspec", "orjson", "starlette", "fastapi")

PAGE = Path(__file__).with_name("page.md.jinja")
IMAGES_PAGE = Path(__file__).with_name("images.md.jinja")

_TWO_PROCESSES = (
    "the bare application needs 50 to 60 us of CPU a request; ours 60 to 80 in the edge (admission, limits, metrics, "
    "log, and the frames to and from the worker) and 30 in the model's process."
)

WHY = {
    "W1 JSON echo, 1 connection": (
        "one request at a time has nothing to share a write or a wake-up with: two processes take turns on the one CPU "
        "for each, at some 210 us of CPU together, against 90 under load."
    ),
    "W1 JSON echo, 16 connections": _TWO_PROCESSES,
    "W1 JSON echo, 64 connections": _TWO_PROCESSES,
    "W2 10,000 floats, 8 connections": (
        "JSON takes 0.6 ms, for both servers. Ours passes 340 KB through a second process, 0.4 ms in the kernel alone, "
        "and sees to it that integers of any size stay exact, 0.1 ms."
    ),
    "W4 64 paced streams, p99 of first chunk": (
        "64 calls begin at once, on one CPU, in two processes one after the other."
    ),
    "W4 64 paced streams, p99 of gap": "each chunk passes a second process; the bare application is at 11 to 12 ms.",
    "W6 process start to ready": "two interpreters start, and the machine was busy: with nothing beside it, 0.45 s.",
}
"""What is known of a figure that may not be reached, by the name of the workload."""


def write(folder: Path, figures: Sequence[Figure], taken: str) -> None:
    """Write `benchmarks.md` and `benchmarks.svg`.

    Args:
        folder: Where to.
        figures: Of the server.
        taken: Machine and date.
    """
    (folder / "benchmarks.svg").write_text(draw(figures, taken), encoding="utf-8")
    (folder / "benchmarks.md").write_text(format_page(figures, taken), encoding="utf-8")


def write_images(folder: Path, figures: Sequence[Figure], taken: str) -> None:
    """Write `benchmarks-images.md`.

    Args:
        folder: Where to.
        figures: Of images.
        taken: Machine and date.
    """
    page = Template(
        IMAGES_PAGE.read_text(encoding="utf-8"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    rows: list[tuple[str, ...]] = [("figure", "result", "lowest - highest", "to reach", ""), ("---",) * 5]
    rows += [(cells[0], *cells[3:7]) for cells in (one.cells() for one in figures)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = [f"{one.name}: {one.note}" for one in figures if one.note]
    text = page.render(taken=taken, table=table, notes=notes)
    (folder / "benchmarks-images.md").write_text(text, encoding="utf-8")


def format_page(figures: Sequence[Figure], taken: str) -> str:
    """Return the page as Markdown."""
    page = Template(PAGE.read_text(encoding="utf-8"), undefined=StrictUndefined, keep_trailing_newline=True)
    _, _, published = (peers.__doc__ or "").partition("\n\n")
    text: str = page.render(
        taken=taken,
        versions=", ".join(f"{name} {version(name)}" for name in PACKAGES),
        load_tool=load_tool(),
        table=format_markdown(figures),
        published=" ".join(published.split()),
        missed=[
            f"{one.name}: {WHY.get(one.name, 'no reason is known')}" for one in figures if not one.reached
        ],
        notes=[f"{one.name}: {one.note}" for one in figures if one.note],
    )
    return text
