"""The server's ratios to the bare application as bars: one SVG that can be read on light and on dark paper."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from benchmarks.peers import PUBLISHED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.figures import Figure

WIDTH, LEFT, RIGHT = 760, 220, 150
TOP, ROW, BAR = 44, 50, 12

STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .quiet { fill: #6e7781; font-size: 11px }
  .ours { fill: #0969da } .peer { fill: #9aa4af } .truss { fill: #d0d7de } .bare { stroke: #cf222e }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 }
    .ours { fill: #4493f8 } .peer { fill: #656c76 } .truss { fill: #3d444d } .bare { stroke: #f85149 }
  }
"""


def draw(figures: Sequence[Figure], taken: str) -> str:
    """Return a chart of the figures that are ratios.

    Args:
        figures: Of the server; others are left out.
        taken: Where and when, for the last line.
    """
    ratios = [one for one in figures if one.unit == "x" and one.name in PUBLISHED]
    widest = max([1.0, *(one.value for one in ratios)])
    scale = (WIDTH - LEFT - RIGHT) / widest
    bottom = TOP + ROW * len(ratios)
    body = [piece for at, one in enumerate(ratios) for piece in _bars(one, TOP + ROW * at, scale)]
    bare = LEFT + scale
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 34}" role="img" '
        'aria-label="Throughput of model servers on one CPU, relative to a bare ASGI application">'
    )
    frame = [
        _text(0, 16, "Throughput on one CPU, as a multiple of a bare ASGI application on the same uvicorn"),
        f'<path class="bare" d="M{bare:.1f} {TOP - 10}V{bottom - 6}" stroke-dasharray="4 3" stroke-opacity="0.4"/>',
        _text(bare + 4, TOP - 10, "bare ASGI = 1", "quiet"),
        _text(0, bottom + 20, taken, "quiet"),
    ]
    return "\n".join([head, f"<style>{STYLE}</style>", *frame, *body, "</svg>", ""])


def _bars(figure: Figure, top: float, scale: float) -> Iterator[str]:
    """Yield one workload: ours, the best peer, and the truss of that name."""
    published = PUBLISHED[figure.name]
    yield _text(0, top + 20, figure.name)
    bars = [("ours", "this server", figure.value), ("peer", published.best, published.value)]
    if published.truss is not None:
        bars.append(("truss", "truss 0.18", published.truss))
    for at, (kind, label, value) in enumerate(bars):
        y, width = top + (BAR + 1) * at, max(1.0, value * scale)
        yield f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>'
        yield _text(LEFT + width + 6, y + 10, f"{value:.2f} {label}", "quiet")


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y}"{f" class={kind!r}" if kind else ""}>{escape(text)}</text>'
