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

PACKAGES = ("uvicorn", "uvloop", "httptools", "orjson", "starlette", "fastapi")

PAGE = Path(__file__).with_name("page.md.jinja")

WHY = {
    "W1 JSON echo, 1 connection": (
        "With one request at a time nothing can be joined: each pays two changes of process, "
        "four system calls for the socket between edge and worker, and two wake-ups."
    ),
    "W1 JSON echo, 16 connections": (
        "The model's process costs a second event loop's worth of Python a request: framing, a thread, its answer."
    ),
    "W1 JSON echo, 64 connections": (
        "The model's process costs a second event loop's worth of Python a request: framing, a thread, its answer."
    ),
    "W5 idle memory": (
        "Two interpreters; FastAPI with pydantic, which documents and serves what is not a call, is half of it."
    ),
    "W6 process start to ready": (
        "FastAPI takes 0.5 s to import on this machine; it loads beside the model, but both share the one CPU here."
    ),
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
