"""A folder behind HTTP: a package index of the user's, with a password where one is wanted."""

from __future__ import annotations

import base64
import functools
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Handler(SimpleHTTPRequestHandler):
    """Serves files to whoever knows the password, and talks to nobody else."""

    def __init__(self, *args: object, credentials: str, **kwargs: object) -> None:
        self._expected = f"Basic {base64.b64encode(credentials.encode()).decode()}" if credentials else ""
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Serve a file or the list of a folder."""
        if self._expected and self.headers.get("Authorization") != self._expected:
            self.send_error(401)
            return
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name is the base class's
        """Say nothing."""


def make_certificate(folder: Path, host: str) -> Path:
    """Write the certificate of an authority that nobody trusts who was not told to, and beside it one of an address."""
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    own = [
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=ours",
        "-addext",
        "keyUsage=critical,keyCertSign",
    ]
    leaf = [
        "-keyout",
        "leaf.key",
        "-out",
        "leaf.pem",
        "-subj",
        f"/CN={host}",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
    ]
    names = ["-addext", f"subjectAltName=IP:{host}", "-addext", "basicConstraints=critical,CA:FALSE"]
    for options in (own, [*leaf, *names]):
        subprocess.run([*request, *options], cwd=folder, check=True, capture_output=True, timeout=30)
    return folder / "ca.pem"


@contextmanager
def serve_folder(
    folder: Path, host: str, credentials: str = "", certificate: Path | None = None
) -> Iterator[str]:
    """Serve a folder while the block runs.

    Args:
        folder: What to serve.
        host: Address to listen on.
        credentials: `name:password` without which nothing is served.
        certificate: Speaks TLS with what `make_certificate` made.

    Yields:
        The URL, with the credentials in it.
    """
    handler = functools.partial(_Handler, directory=str(folder), credentials=credentials)
    with ThreadingHTTPServer((host, 0), handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.with_name("leaf.pem"), certificate.with_name("leaf.key"))
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        at = f"{credentials}@" if credentials else ""
        try:
            yield f"http{'s' if certificate else ''}://{at}{host}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(timeout=5)
