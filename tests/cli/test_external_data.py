"""Downloads, from a real server on loopback: asked for once, checked, whole or not there."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.fakes import RecordedProgress
from tests.file_server import make_certificate, serve_folder
from tests.helpers import build_tree
from truss import external_data
from truss.client import HttpClient
from truss.config import TrussConfig, load_config
from truss.errors import BuildError, PackageError
from truss.external_data import external_files, fetch
from truss.plan import plan_release
from truss.state import locked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Site:
    """A site with one file.

    Attributes:
        url: Of the file.
        body: Its content; its hash is its ETag.
        promised: Bytes it claims to have.
        status: What it answers with, or 0 for nothing at all.
        answers: Statuses of the answers so far.
    """

    url: str = ""
    body: bytes = b"words"
    promised: int | None = None
    status: int = 200
    answers: list[int] = field(default_factory=list)


@contextmanager
def served(site: Site) -> Iterator[None]:
    """Serve a site."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            etag = hashlib.sha256(site.body).hexdigest()
            same = site.status == 200 and self.headers.get("if-none-match") == etag
            site.answers.append(304 if same else site.status)
            self.send_response(site.answers[-1])
            self.send_header("etag", etag)
            if self.path == "/moved":
                self.send_header("location", "/file")
            self.send_header(
                "content-length", str(len(site.body) if site.promised is None else site.promised)
            )
            self.end_headers()
            if not same:
                self.wfile.write(site.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        site.url = f"http://127.0.0.1:{server.server_port}/file"
        try:
            yield
        finally:
            server.shutdown()
            thread.join(timeout=5)


@pytest.fixture
def site() -> Iterator[Site]:
    """Give a site that is served."""
    site = Site()
    with served(site):
        yield site


def config_of(site: Site, **more: str) -> TrussConfig:
    """Return a configuration that wants the file of a site."""
    return TrussConfig.model_validate(
        {"external_data": [{"url": site.url, "local_data_path": "deep/words.txt", **more}]}
    )


def download(config: TrussConfig, folder: Path) -> RecordedProgress:
    """Download what a configuration wants."""
    progress = RecordedProgress()
    fetch(config.external_data, HttpClient(), progress, folder)
    return progress


def content(config: TrussConfig, folder: Path) -> dict[str, bytes]:
    """Return what was downloaded, by its path in a release; nothing where it was not."""
    try:
        return {str(file.path): file.source.read_bytes() for file in external_files(config, folder)}
    except PackageError:  # it was not downloaded
        return {}


def test_a_download(site: Site, tmp_path: Path) -> None:
    """It lies below the data folder; the next push asks whether it has changed, and gets it only then."""
    config = config_of(site)

    assert download(config, tmp_path).details == ["deep/words.txt: 0.0 of 0.0 MB"]
    assert content(config, tmp_path) == {"data/deep/words.txt": b"words"}

    download(config, tmp_path)
    site.body = b"other words"
    download(config, tmp_path)

    assert site.answers == [200, 304, 200]
    assert content(config, tmp_path) == {"data/deep/words.txt": b"other words"}


def test_a_download_with_a_checksum(site: Site, tmp_path: Path) -> None:
    """It is asked for once, because it cannot change."""
    config = config_of(site, sha256=hashlib.sha256(b"words").hexdigest().upper())

    download(config, tmp_path)
    download(config, tmp_path)

    assert site.answers == [200]


def test_a_wrong_checksum(site: Site, tmp_path: Path) -> None:
    """The error says both, and nothing is kept."""
    config = config_of(site, sha256="0" * 64)

    with pytest.raises(BuildError) as caught:
        download(config, tmp_path)

    found = hashlib.sha256(b"words").hexdigest()
    assert f"Its SHA-256 is {found}, and config.yaml says {'0' * 64}." in caught.value.message
    assert caught.value.hint == "`external_data` in config.yaml wants it as deep/words.txt."
    assert content(config, tmp_path) == {}
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


@pytest.mark.parametrize(("status", "words"), [(404, "It answered 404 Not Found."), (500, "It answered 500")])
def test_a_page_that_says_no(site: Site, tmp_path: Path, status: int, words: str) -> None:
    """A page with an error is not the data."""
    site.status = status

    with pytest.raises(BuildError, match=words):
        download(config_of(site), tmp_path)


def test_a_download_that_breaks(site: Site, tmp_path: Path) -> None:
    """Half a file is none; one that is there already stays."""
    config = config_of(site)
    site.promised = 1000
    with pytest.raises(BuildError, match="It broke off after 5 bytes"):
        download(config, tmp_path)
    assert content(config, tmp_path) == {}

    site.promised = None
    download(config, tmp_path)
    site.body, site.promised = b"half", 1000
    progress = download(config, tmp_path)

    assert content(config, tmp_path) == {"data/deep/words.txt": b"words"}
    assert progress.details == [
        f"{site.url}: It broke off after 4 bytes. What was downloaded before is taken."
    ]


def test_without_a_network(site: Site, tmp_path: Path) -> None:
    """What was downloaded before is taken; what was not is an error."""
    config = config_of(site)
    download(config, tmp_path / "known")
    gone = Site(url="http://127.0.0.1:9/file")

    with pytest.raises(BuildError, match="Nobody answers there"):
        download(config_of(gone), tmp_path / "unknown")


def test_a_signed_url_is_shown_without_its_signature(site: Site, tmp_path: Path) -> None:
    """Errors go to logs and to colleagues."""
    site.status = 403
    host = site.url.removeprefix("http://")
    signed = Site(url=f"http://me:passw0rd@{host}?X-Signature=s1gned")

    with pytest.raises(BuildError) as caught:
        download(config_of(signed), tmp_path)

    assert caught.value.message == f"{site.url} could not be downloaded. It answered 403 Forbidden."


def test_certificates_of_a_company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that packages are installed with count for downloads; without them the error names the variable."""
    certificate = make_certificate(tmp_path, "127.0.0.1")
    build_tree(tmp_path / "site", {"file": "words"})
    with serve_folder(tmp_path / "site", "127.0.0.1", certificate=certificate) as url:
        config = config_of(Site(url=f"{url}/file"))
        with pytest.raises(BuildError, match="Nothing vouches for its certificate") as caught:
            download(config, tmp_path / "downloads")
        monkeypatch.setenv("PIP_CERT", str(certificate))
        download(config, tmp_path / "downloads")

    assert "SSL_CERT_FILE" in caught.value.hint
    assert content(config, tmp_path / "downloads") == {"data/deep/words.txt": b"words"}


def test_too_large(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit ends what says that it is larger, and what does not say and is."""
    monkeypatch.setattr(external_data, "MOST_BYTES", 3)

    with pytest.raises(BuildError, match="It has more than"):
        download(config_of(site), tmp_path)

    assert content(config_of(site), tmp_path) == {}


def test_a_file_that_a_push_still_sends(site: Site, tmp_path: Path) -> None:
    """A newer download leaves what another push has just planned with where it is; a day later it goes."""
    config = config_of(site)
    download(config, tmp_path)
    (planned,) = external_files(config, tmp_path)
    site.body = b"newer"
    download(config, tmp_path)
    assert planned.source.read_bytes() == b"words"
    assert content(config, tmp_path) == {"data/deep/words.txt": b"newer"}

    long_ago = time.time() - 2 * 24 * 3600
    os.utime(planned.source, (long_ago, long_ago))
    site.body = b"newest"
    download(config, tmp_path)
    assert not planned.source.exists()
    assert content(config, tmp_path) == {"data/deep/words.txt": b"newest"}


def test_a_download_that_was_killed(site: Site, tmp_path: Path) -> None:
    """What it had written goes a day later; what another one writes just now stays."""
    for name, age in (("old", 2 * 24 * 3600), ("new", 0)):
        build_tree(tmp_path / "downloads" / name, {"draft": "half"})
        os.utime(tmp_path / "downloads" / name, (time.time() - age,) * 2)

    download(config_of(site), tmp_path / "downloads")

    assert not (tmp_path / "downloads/old").exists()
    assert (tmp_path / "downloads/new/draft").exists()


def test_a_download_in_use_is_not_removed(site: Site, tmp_path: Path) -> None:
    """What nobody asked for in a month goes, unless somebody asks for it at that moment."""
    config = config_of(site)
    download(config, tmp_path)
    (kept,) = external_files(config, tmp_path)
    month_ago = time.time() - 40 * 24 * 3600
    os.utime(kept.source.with_name("about.json"), (month_ago, month_ago))

    with locked(kept.source.parent.with_suffix(".lock"), timeout=1, busy="busy"):
        fetch((), HttpClient(), RecordedProgress(), tmp_path)
        assert kept.source.exists()
    fetch((), HttpClient(), RecordedProgress(), tmp_path)
    assert not kept.source.exists()


def test_a_release_with_downloads(site: Site, tmp_path: Path) -> None:
    """The file is one of the release's, and another content makes another release; a name can be taken once."""
    source = "class Model:\n    def predict(self, x):\n        return x\n"
    text = f"external_data: [{{url: '{site.url}', local_data_path: words.txt}}]\n"
    package = build_tree(tmp_path / "falcon", {"config.yaml": text, "model/model.py": source})
    digests = []
    for body in (b"one", b"two"):
        site.body = body
        fetch(load_config(package).external_data, HttpClient(), RecordedProgress())
        digests.append(plan_release(package).manifest.digest)

    assert "data/words.txt" in [str(file.path) for file in plan_release(package).files]
    assert digests[0] != digests[1]

    build_tree(package, {"data/words.txt": "mine"})
    with pytest.raises(PackageError, match=r"data/words\.txt would be both"):
        plan_release(package)
