"""What a build took, image by image: values, and a waterfall of them that people can read in a pipe as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from truss.wording import format_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BAR_WIDTH = 30
THOUSAND = 1000
UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class BuiltImage:
    """What became of one image of a release.

    Attributes:
        kind: Which image.
        tag: Its name.
        cached: Whether it was there.
        seconds: What building it took.
        size: Bytes that it adds to the release.
    """

    kind: str
    tag: str
    cached: bool
    seconds: float
    size: int

    def event(self) -> dict[str, object]:
        """Return it for programs."""
        return {
            "event": "image",
            "image": self.kind,
            "tag": self.tag,
            "cached": self.cached,
            "seconds": round(self.seconds, 3),
            "size": self.size,
        }


def format_waterfall(images: Sequence[BuiltImage]) -> Iterator[str]:
    """Yield lines that show where the time and the size went: bars begin where the image before ends."""
    width = max(len(image.kind) for image in images)
    total = sum(image.seconds for image in images) or 1.0
    before = 0.0
    for image in images:
        begin = round(before / total * BAR_WIDTH)
        before += image.seconds
        end = max(begin + 1, round(before / total * BAR_WIDTH))
        bar = "" if image.cached else " " * min(begin, BAR_WIDTH - 1) + "#" * (end - begin)
        took = "cached" if image.cached else format_seconds(image.seconds)
        line = f"{image.kind:<{width}}  {took:>9}  {format_size(image.size):>8}  {bar}"
        yield line.rstrip()
    sizes = sum(image.size for image in images)
    yield f"{'':<{width}}  {format_seconds(before):>9}  {format_size(sizes):>8}".rstrip()


def format_size(size: float) -> str:
    """Return a number of bytes for people, in powers of ten as Docker shows it."""
    for unit in UNITS:
        if size < THOUSAND or unit == UNITS[-1]:
            break
        size /= THOUSAND
    number = f"{size:.1f}" if size < 10 and unit != "B" else f"{size:.0f}"  # noqa: PLR2004 as seconds are shown
    return f"{number} {unit}"
