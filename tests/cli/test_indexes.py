"""Where the user's packages come from: variables before files, uv's before pip's, passwords from wherever they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers import build_tree
from truss.errors import BuildError
from truss.indexes import Indexes, read_indexes, redactor, url_secrets

UV_TOML = """
find-links = ["/srv/house", "https://links.test"]
no-index = true
[[index]]
url = "https://main.test"
default = true
[[index]]
name = "my-own"
url = "https://own.test/simple"
[[index]]
url = "https://only-if-asked.test"
explicit = true
[pip]
allow-insecure-host = ["main.test"]
"""


def test_nothing(tmp_path: Path) -> None:
    """Without any settings there are none."""
    assert read_indexes({"HOME": str(tmp_path)}, []) == Indexes()


def test_pip_files(tmp_path: Path) -> None:
    """What a company writes into pip.conf counts for a build, too."""
    text = (
        "[global]\nindex-url = https://me:word@pip.test\ncert = /ca.pem\nfind-links =\n  /srv/a\n  /srv/b\n"
    )
    build_tree(tmp_path, {".config/pip/pip.conf": text, ".config/pip/nothing": ""})

    found = read_indexes({"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path)})

    assert found.index == "https://me:word@pip.test"
    assert found.certificates == Path("/ca.pem")
    assert found.folders == (Path("/srv/a"), Path("/srv/b"))


def test_uv_file(tmp_path: Path) -> None:
    """So does uv.toml, with the passwords that uv finds for an index by its name."""
    build_tree(tmp_path, {".config/uv/uv.toml": UV_TOML})
    environ = {"HOME": str(tmp_path), "UV_INDEX_MY_OWN_USERNAME": "me", "UV_INDEX_MY_OWN_PASSWORD": "p@ss"}

    found = read_indexes(environ, [])

    assert found == Indexes(
        index="https://main.test",
        extra=("https://me:p%40ss@own.test/simple",),
        links=("https://links.test",),
        folders=(Path("/srv/house"),),
        no_index=True,
        trusted=("main.test",),
    )
    assert found.secrets == {"p%40ss", "p@ss"}


def test_order(tmp_path: Path) -> None:
    """A variable is nearer than a file, and what is meant for uv counts more than what is meant for pip."""
    build_tree(tmp_path, {".config/uv/uv.toml": 'index-url = "https://uv-file"\n', "pip.conf": "[global]\n"})
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://pip-file\nextra-index-url = https://extra\n"
    )
    home = {"HOME": str(tmp_path)}
    files = [tmp_path / "pip.conf"]

    assert read_indexes({**home, "UV_NO_CONFIG": "1"}, files).index == "https://pip-file"
    assert read_indexes(home, files).index == "https://uv-file"
    assert read_indexes(home, files).extra == ("https://extra",)
    assert read_indexes({**home, "PIP_INDEX_URL": "https://pip"}, files).index == "https://pip"
    both = {**home, "PIP_INDEX_URL": "https://pip", "UV_DEFAULT_INDEX": "named=https://uv"}
    assert read_indexes(both, files).index == "https://uv"


def test_netrc(tmp_path: Path) -> None:
    """Of all that a netrc holds, a build gets the logins of its indexes that have none in their URLs."""
    text = "".join(f"machine {host}.test login me password {word}\n" for host, word in ("a1", "b2", "c3"))
    path = tmp_path / ".netrc"
    path.write_text(text)
    path.chmod(0o600)
    environ = {
        "HOME": str(tmp_path),
        "PIP_INDEX_URL": "https://a.test/x",
        "PIP_EXTRA_INDEX_URL": "https://u:p@c.test",
    }

    found = read_indexes(environ, [])

    assert found.netrc_text == "machine a.test login me password 1\n"
    assert found.secrets == {"1", "p"}


@pytest.mark.parametrize("name", ["PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificates(tmp_path: Path, name: str) -> None:
    """Each of the variables that companies set is heard."""
    assert read_indexes({"HOME": str(tmp_path), name: "/ca.pem"}, []).certificates == Path("/ca.pem")


def test_a_broken_uv_file(tmp_path: Path) -> None:
    """It is named."""
    build_tree(tmp_path, {"uv.toml": "index = "})

    with pytest.raises(BuildError, match="uv's configuration"):
        read_indexes({"UV_CONFIG_FILE": str(tmp_path / "uv.toml"), "PIP_CONFIG_FILE": os.devnull})


def test_passwords_of_proxies(tmp_path: Path) -> None:
    """What a tool says of a proxy is shown without its password, too."""
    environ = {
        "HOME": str(tmp_path),
        "https_proxy": "http://me:word@proxy.test:3128",
        "HTTP_PROXY": "http://open.test",
    }

    assert read_indexes(environ, []).secrets == {"word"}


def test_tokens_in_queries(tmp_path: Path) -> None:
    """So is an index that wants a token in its query."""
    environ = {"HOME": str(tmp_path), "PIP_INDEX_URL": "https://index.test/simple?token=t%40ken-word&v=2"}

    assert read_indexes(environ, []).secrets == {"t%40ken-word", "t@ken-word"}


def test_a_bracket_in_a_password() -> None:
    """It is one that URLs may not have as it is; it is no less a secret."""
    assert url_secrets("https://me:p[ssword@index.test/simple") == {"p[ssword"}


def test_redactor() -> None:
    """Stars take the place of each secret, the longer one first."""
    redacted = redactor({"word", "password"})

    assert redacted("https://me:password@x word") == "https://me:****@x ****"
    assert redactor([])("as it is") == "as it is"
