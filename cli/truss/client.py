"""HTTP as far as the tool needs it: is it ready, and a request whose answer streams. The only importer of httpx."""

from __future__ import annotations

import ipaddress
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from truss import __version__
from truss.errors import ConnectError, StreamError, TrussError, UsageError
from truss_server.protocol import READY

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping
    from pathlib import Path

if "httpx" not in sys.modules:
    # httpx imports its own command line, and with it all of rich: 0.1 s of every prediction. None makes that
    # import fail, which httpx is prepared for.
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    import httpx

    del sys.modules["httpx._main"]
else:
    import httpx

CONNECT_SECONDS = 5.0
READY_SECONDS = 2.0
WRITE_SECONDS = 60.0
"""How long a server may leave a part of a request unread."""


@dataclass(frozen=True)
class Answer:
    """What a server sends back: the head, and the body as it comes.

    Attributes:
        status: HTTP status.
        reason: Its name.
        headers: By name in lower case.
        chunks: The body in the pieces it came in; raises `StreamError` where it breaks.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    chunks: Iterator[bytes]

    @property
    def content_type(self) -> str:
        """The media type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class HttpClient:
    """Makes requests; every wait has an end."""

    def is_ready(self, url: str) -> bool:
        """Return whether the server at a base URL has its model loaded."""
        try:
            with _open(url, httpx.Timeout(READY_SECONDS)) as client:
                return client.get(url + READY).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    @contextmanager
    def post(self, url: str, body: bytes, *, seconds: float) -> Iterator[Answer]:
        """Send JSON and give the answer as soon as its head is there.

        Args:
            url: Where to.
            body: JSON.
            seconds: How long to wait for the head, and then for each piece of the body.

        Raises:
            UsageError: The URL is none.
            ConnectError: Nobody answers.
        """
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS, write=WRITE_SECONDS)
        headers = {"content-type": "application/json", "user-agent": f"truss/{__version__}"}
        with _open(url, timeout) as client:
            request = client.build_request("POST", url, content=body, headers=headers)
            try:
                response = client.send(request, stream=True)
            except httpx.HTTPError as exc:
                raise _unanswered(exc, url, seconds) from exc
            try:
                chunks = _chunks(response, seconds)
                yield Answer(response.status_code, response.reason_phrase, response.headers, chunks)
            finally:
                response.close()

    @contextmanager
    def get(
        self, url: str, headers: Mapping[str, str], seconds: float, certificates: Path | None = None
    ) -> Iterator[Answer]:
        """Ask for what is at a URL, wherever that leads, and give the answer as soon as its head is there.

        Args:
            url: Where it is.
            headers: Of the request.
            seconds: How long to wait for the head, and then for each piece of the body.
            certificates: File of more certificates that the server's is checked against.

        Raises:
            UsageError: The URL is none, or the certificates are.
            ConnectError: Nobody answers, or somebody whom no certificate vouches for.
        """
        headers = {"user-agent": f"truss/{__version__}", **headers}
        with _open(url, httpx.Timeout(seconds, connect=CONNECT_SECONDS), certificates) as client:
            try:
                request = client.build_request("GET", url, headers=headers)
                response = client.send(request, stream=True, follow_redirects=True)
            except (httpx.HTTPError, httpx.InvalidURL) as exc:
                raise _unreached(exc) from exc
            try:
                yield Answer(
                    response.status_code, response.reason_phrase, response.headers, _pieces(response)
                )
            finally:
                response.close()


@contextmanager
def _open(url: str, timeout: httpx.Timeout, certificates: Path | None = None) -> Iterator[httpx.Client]:
    """Open a client for one URL; nothing that runs on this machine is reached through a proxy."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    direct = {f"all://{_bracketed(host)}": None} if is_loopback(host) else {}
    # Certificates take 20 ms to read, and plain HTTP to this machine has none.
    verify: ssl.SSLContext | bool = parts.scheme == "https" or not direct
    try:
        if verify and certificates:
            verify = httpx.create_ssl_context()
            verify.load_verify_locations(certificates)
        client = httpx.Client(timeout=timeout, mounts=direct, verify=verify)
    except (httpx.InvalidURL, ValueError, OSError) as exc:
        raise UsageError(
            f"The settings for proxies or certificates are wrong: {exc}.",
            hint="Look at HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE.",
        ) from exc
    with client:
        yield client


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _bracketed(host: str) -> str:
    """Return a host as URLs hold it."""
    return f"[{host}]" if ":" in host else host


def _unanswered(exc: httpx.HTTPError, url: str, seconds: float) -> TrussError:
    """Return what to say of a request that got no answer."""
    if isinstance(exc, (httpx.UnsupportedProtocol, httpx.LocalProtocolError)):
        return UsageError(f"{url} is no URL to call.", details=str(exc))
    if isinstance(exc, httpx.ConnectTimeout):
        return ConnectError(
            f"Nobody answers at {url} within {CONNECT_SECONDS:g} s.",
            hint="`truss list` shows what is deployed.",
        )
    if isinstance(exc, httpx.ReadTimeout):
        return ConnectError(
            f"No answer came from {url} within {seconds:g} s.", hint="--timeout SECONDS waits longer."
        )
    if isinstance(exc, httpx.ConnectError):
        return ConnectError(
            f"Nobody answers at {url}.", details=str(exc), hint="`truss list` shows what is deployed."
        )
    return ConnectError(
        f"The connection to {url} was lost before the answer.",
        details=str(exc),
    )


def _unreached(exc: Exception) -> ConnectError:
    """Return what to say of a download that did not begin."""
    if "CERTIFICATE_VERIFY_FAILED" not in str(exc):
        return ConnectError("Nobody answers there.", details=str(exc))
    return ConnectError(
        "Nothing vouches for its certificate.",
        details=str(exc),
        hint="SSL_CERT_FILE names a file of certificates that are trusted: your company's, perhaps.",
    )


def _pieces(response: httpx.Response) -> Iterator[bytes]:
    """Yield a download as it comes.

    Raises:
        StreamError: It broke.
    """
    count = 0
    try:
        for chunk in response.iter_bytes():
            count += len(chunk)
            yield chunk
    except httpx.HTTPError as exc:
        raise StreamError(f"It broke off after {count} bytes.", details=str(exc)) from exc


def _chunks(response: httpx.Response, seconds: float) -> Iterator[bytes]:
    """Yield the body as it comes.

    Raises:
        StreamError: It broke.
    """
    count = 0
    try:
        for chunk in response.iter_bytes():
            count += len(chunk)
            yield chunk
    except httpx.ReadTimeout as exc:
        raise StreamError(
            f"The stream stalled after {count} bytes: nothing came for {seconds:g} s.",
            hint="--timeout SECONDS waits longer.",
        ) from exc
    except httpx.HTTPError as exc:
        raise StreamError(
            f"The answer broke off after {count} bytes: the model failed, or its process ended.",
            details=str(exc),
        ) from exc
