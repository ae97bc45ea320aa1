"""Data that a package names by URL: downloaded once, checked, kept beside the state, and part of a release as any file.

Both targets get it the same way: a file of the release that lies elsewhere on this machine.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from truss.errors import BuildError, ConnectError, PackageError, StreamError, TrussError, UsageError
from truss.indexes import read_indexes
from truss.release import PackageFile
from truss.state import Lock, locked, read_json, state_folder, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from truss.client import Answer, HttpClient
    from truss.config import TrussConfig
    from truss.config_sections import ExternalData
    from truss.progress import Progress

MOST_BYTES = 256 * 1024**3
"""The largest file that is downloaded."""

LONGEST_SECONDS = 6 * 3600.0
"""How long a download may take."""

SILENT_SECONDS = 60.0
"""How long it may say nothing."""

TELL_SECONDS = 1.0
"""Between two words about a download."""

WAIT = 3600.0
"""Seconds to wait for another push that downloads the same."""

KEPT_SECONDS = 30 * 24 * 3600.0
"""How long a download is kept that no push has asked for."""

REPLACED_SECONDS = 24 * 3600.0
"""How long a file stays that a later download replaced, after the last push that wanted it: one may still send it."""

ABOUT, FACTS = "about.json", ("sha256", "size", "etag", "modified")
_MEGABYTE = 1_000_000
_OK, _UNCHANGED = 200, 304


def downloads_folder() -> Path:
    """Return where downloads are kept."""
    return state_folder(os.environ) / "downloads"


def fetch(
    wanted: Iterable[ExternalData], client: HttpClient, progress: Progress, folder: Path | None = None
) -> None:
    """Download what is not there, or has changed where it comes from. What has a checksum is asked for once.

    Args:
        wanted: What to download.
        client: Downloads.
        progress: Told how far it is.
        folder: Where downloads are kept.

    Raises:
        BuildError: A download failed, is too large or is not what its checksum says. Nothing of it is left.
    """
    folder = folder or downloads_folder()
    folder.mkdir(parents=True, exist_ok=True)
    for one in wanted:
        place = _place(folder, one)
        busy = f"Another push has been downloading {_shown(one)} for {WAIT / 60:.0f} minutes."
        with locked(place.with_suffix(".lock"), timeout=WAIT, busy=busy):
            place.mkdir(exist_ok=True)
            _Download(one, place, client, progress).run()
    _prune(folder, time.time())


def external_files(config: TrussConfig, folder: Path | None = None) -> Iterator[PackageFile]:
    """Yield the files of a release that were downloaded for it.

    Raises:
        PackageError: One was not.
    """
    if not config.external_data:
        return
    folder = folder or downloads_folder()
    for one in config.external_data:
        known = _known(_place(folder, one))
        if known is None:
            raise PackageError(f"{_shown(one)} was not downloaded yet.", hint="`truss push` does it.")
        path = PurePosixPath(config.data_dir) / one.local_data_path
        source = _place(folder, one) / known["sha256"]
        yield PackageFile(path, source, executable=False, size=known["size"], sha256=known["sha256"])


def _place(folder: Path, one: ExternalData) -> Path:
    return folder / hashlib.sha256(one.url.encode()).hexdigest()[:24]


def _shown(one: ExternalData) -> str:
    """Return a URL as anybody may see it: without a name, a password or a signature."""
    parts = urlsplit(one.url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _known(place: Path) -> dict[str, Any] | None:
    known = read_json(place / ABOUT, FACTS)
    return known if known and (place / known["sha256"]).is_file() else None


class _Download:
    """Brings one file up to date."""

    def __init__(self, one: ExternalData, place: Path, client: HttpClient, progress: Progress) -> None:
        self._one = one
        self._place = place
        self._client = client
        self._progress = progress

    def run(self) -> None:
        known = _known(self._place)
        if not known or known["sha256"] != self._one.sha256:
            self._renew(known)
        if known := _known(self._place):
            for name in (ABOUT, known["sha256"]):
                os.utime(self._place / name)

    def _renew(self, known: Mapping[str, Any] | None) -> None:
        """Download it, unless what is known of an earlier download still holds."""
        headers = {"accept-encoding": "identity"}
        if known and self._one.sha256 is None:
            headers |= {"if-none-match": known["etag"]} if known["etag"] else {}
            headers |= {"if-modified-since": known["modified"]} if known["modified"] else {}
        try:
            certificates = read_indexes(os.environ).certificates
            with self._client.get(self._one.url, headers, SILENT_SECONDS, certificates) as answer:
                self._take(answer)
        except (ConnectError, StreamError) as exc:
            if known is None or self._one.sha256 is not None:
                raise self._failed(exc) from exc
            self._progress.note(f"{_shown(self._one)}: {exc.message} What was downloaded before is taken.")
        except UsageError as exc:
            raise self._failed(exc) from exc

    def _take(self, answer: Answer) -> None:
        if answer.status == _UNCHANGED:
            return
        if answer.status != _OK:
            raise self._failed(f"It answered {answer.status} {answer.reason}.")
        draft = self._place / "draft"
        try:
            sha256, size = self._write(answer, draft)
            if self._one.sha256 not in {None, sha256}:
                raise self._failed(f"Its SHA-256 is {sha256}, and config.yaml says {self._one.sha256}.")
            draft.replace(self._place / sha256)
        finally:
            draft.unlink(missing_ok=True)
        etag, modified = (answer.headers.get(name, "") for name in ("etag", "last-modified"))
        write_json(self._place / ABOUT, {"sha256": sha256, "size": size, "etag": etag, "modified": modified})
        now = time.time()
        for old in self._place.iterdir():
            if old.name not in {ABOUT, sha256} and now - old.stat().st_mtime > REPLACED_SECONDS:
                old.unlink()

    def _write(self, answer: Answer, draft: Path) -> tuple[str, int]:
        """Write a body as it comes; return its SHA-256 and size."""
        expected = int(answer.headers.get("content-length") or 0)
        free = shutil.disk_usage(self._place).free
        self._check(expected, free)
        begin = told = time.monotonic()
        digest, size = hashlib.sha256(), 0
        with draft.open("wb") as file:
            for chunk in answer.chunks:
                digest.update(chunk)
                file.write(chunk)
                size += len(chunk)
                now = time.monotonic()
                self._check(size, free)
                if now - begin > LONGEST_SECONDS:
                    raise self._failed(f"It was not complete after {LONGEST_SECONDS / 3600:g} hours.")
                if now - told > TELL_SECONDS or size == expected:
                    told = now
                    whole = f" of {expected / _MEGABYTE:.1f}" if expected else ""
                    self._progress.detail(f"{self._one.local_data_path}: {size / _MEGABYTE:.1f}{whole} MB")
        return digest.hexdigest(), size

    def _check(self, size: int, free: int) -> None:
        if size > MOST_BYTES:
            raise self._failed(f"It has more than {MOST_BYTES // 1024**3} GB.")
        if size > free:
            raise self._failed(f"There is no room for it in {self._place.parent}.")

    def _failed(self, why: str | TrussError) -> BuildError:
        known = why if isinstance(why, TrussError) else BuildError(why)
        hint = f"`external_data` in config.yaml wants it as {self._one.local_data_path}."
        return BuildError(
            f"{_shown(self._one)} could not be downloaded. {known.message}",
            details=known.details,
            hint="\n".join(filter(None, (known.hint, hint))),
        )


def _prune(folder: Path, now: float) -> None:
    """Remove what no push has asked for in a long time, and what a killed one had begun."""
    for place in filter(Path.is_dir, folder.iterdir()):
        lock = Lock.take(place.with_suffix(".lock"))
        if lock is None:  # somebody asks for it now
            continue
        try:
            about = place / ABOUT
            asked, kept = (about, KEPT_SECONDS) if about.exists() else (place, REPLACED_SECONDS)
            if now - asked.stat().st_mtime > kept:
                shutil.rmtree(place, ignore_errors=True)
        finally:
            lock.close()
