"""Where the user's packages come from: variables before files, uv's before pip's, passwords from wherever they are."""

from __future__ import annotations

import netrc
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.helpers import build_tree
from truss.errors import BuildError
from truss.index_urls import url_secrets
from truss.indexes import Indexes, read_indexes, redactor
from truss.uv_settings import find_uv

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


def test_lists_add_up_as_in_uv(tmp_path: Path) -> None:
    """No index is lost: what the real uv makes of variables and of two files is what is found."""
    user = """
index-url = "https://user-url.test/"
extra-index-url = ["https://user-extra.test/"]
find-links = ["https://user-links.test/"]
allow-insecure-host = ["user"]
[[index]]
name = "a"
url = "https://user-a.test/"
[pip]
extra-index-url = ["https://user-pip.test/"]
index-strategy = "unsafe-first-match"
"""
    system = """
index-url = "https://system-url.test/"
index-strategy = "unsafe-best-match"
allow-insecure-host = ["system"]
extra-index-url = ["https://system-extra.test/"]
find-links = ["https://system-links.test/"]
[[index]]
name = "a"
url = "https://system-a.test/"
[[index]]
url = "https://system-b.test/"
"""
    build_tree(tmp_path, {".config/uv/uv.toml": user, "xdg/uv/uv.toml": system})
    environ = {
        "HOME": str(tmp_path),
        "XDG_CONFIG_DIRS": f"/nowhere:{tmp_path}/xdg",
        "UV_INDEX": "b=https://one.test/ https://two.test/",
        "UV_EXTRA_INDEX_URL": "https://three.test/",
        "UV_FIND_LINKS": "https://links.test/",
        "UV_INSECURE_HOST": "variable",
    }
    shown = subprocess.run(
        [find_uv(), "pip", "install", "--show-settings", "tiny"],
        env=environ,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    of_uv = re.findall(r'given: Some\(\s+"(.*?)"', shown)

    found = read_indexes(environ, [])

    assert [*found.extra, found.index, *found.links] == [url for url in of_uv if "system-a" not in url]
    assert found.index == "https://user-url.test/"
    assert found.trusted == ("variable", "user", "system")
    assert found.strategy == "unsafe-first-match"
    assert "index_strategy: UnsafeFirstMatch" in shown


def test_an_index_of_uv_is_asked_as_uv_does(tmp_path: Path) -> None:
    """Where uv's own settings name indexes, one that only pip knows comes after them and loosens nothing."""
    environ = {
        "HOME": str(tmp_path),
        "UV_INDEX": "https://mine.test",
        "PIP_EXTRA_INDEX_URL": "https://more.test",
    }

    found = read_indexes(environ, [])

    assert found.extra == ("https://mine.test", "https://more.test")
    assert found.strategy == ""


def test_proxies_of_files(tmp_path: Path) -> None:
    """A variable that every tool reads is nearer than a file; one without a scheme has a password, too."""
    build_tree(
        tmp_path,
        {
            ".config/uv/uv.toml": 'https-proxy = "http://uv.test:1"\nno-proxy = ["a.test", "b.test"]\n',
            "pip.conf": "[global]\nproxy = me:Pr0xy%40word@pip.test:2\n",
        },
    )

    found = read_indexes({"HOME": str(tmp_path)}, [tmp_path / "pip.conf"])
    near = read_indexes({"HOME": str(tmp_path), "http_proxy": "http://near.test"}, [tmp_path / "pip.conf"])

    assert found.proxies == {
        **dict.fromkeys(("HTTP_PROXY", "http_proxy"), "me:Pr0xy%40word@pip.test:2"),
        **dict.fromkeys(("HTTPS_PROXY", "https_proxy"), "http://uv.test:1"),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "a.test,b.test"),
    }
    assert found.secrets == {"Pr0xy%40word", "Pr0xy@word"}
    assert near.proxies["http_proxy"] == "http://near.test"
    assert "HTTP_PROXY" not in near.proxies


@pytest.mark.parametrize(
    ("variable", "line"), [("UV_SYSTEM_CERTS", ""), ("X", "native-tls = true"), ("X", "system-certs = true")]
)
def test_certificates_of_the_system(tmp_path: Path, variable: str, line: str) -> None:
    """They are sent where uv was told to take them; a file that is named counts more."""
    build_tree(tmp_path, {".config/uv/uv.toml": line})
    environ = {"HOME": str(tmp_path), variable: "1"}

    found = read_indexes(environ, []).certificates

    assert found is not None
    assert "BEGIN CERTIFICATE" in found.read_text()
    assert read_indexes({**environ, "SSL_CERT_FILE": "/ca.pem"}, []).certificates == Path("/ca.pem")


@pytest.mark.parametrize("word", ["sp ace#pw", 'q"b\\s', "pl#ain", "it's", "plain"])
def test_words_of_a_netrc(tmp_path: Path, word: str) -> None:
    """Whatever characters a password has, it is one word to who reads the file."""
    path = tmp_path / "netrc"
    path.write_text(Indexes(logins=(("a.test", "me", word),)).netrc_text)

    assert netrc.netrc(path).hosts == {"a.test": ("me", "", word)}


@pytest.mark.parametrize(
    "environ",
    [
        {"UV_INDEX": "n=https://h[/simple", "UV_INDEX_N_USERNAME": "me"},
        {"PIP_INDEX_URL": "https://me:p[s3cret@h/simple"},
        {"UV_DEFAULT_INDEX": "https://h[x/simple"},
        {"PIP_FIND_LINKS": "https://h[x/simple"},
    ],
)
def test_urls_that_are_none(tmp_path: Path, environ: dict[str, str]) -> None:
    """They are named, without their passwords."""
    with pytest.raises(BuildError, match="is no URL of a package index") as caught:
        read_indexes({"HOME": str(tmp_path), **environ}, [])

    assert "s3cret" not in str(caught.value)
    assert "%5B" in caught.value.hint


def test_a_time_limit_that_is_none(tmp_path: Path) -> None:
    """It is named, and what may say it."""
    with pytest.raises(BuildError, match="'15s', is no number of seconds") as caught:
        read_indexes({"HOME": str(tmp_path), "PIP_DEFAULT_TIMEOUT": "15s"}, [])

    assert "PIP_DEFAULT_TIMEOUT" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "details"),
    [
        ('pip = "x"', "`pip` is no table."),
        ("index = 3", "`index` is no list of tables."),
        ("find-links = [{}]", "`find-links` is no text or list of texts."),
    ],
)
def test_a_uv_file_of_the_wrong_kind(tmp_path: Path, text: str, details: str) -> None:
    """What is wrong in it is said."""
    build_tree(tmp_path, {"uv.toml": text})

    with pytest.raises(BuildError, match="uv's configuration") as caught:
        read_indexes({"UV_CONFIG_FILE": str(tmp_path / "uv.toml")}, [])

    assert caught.value.details == details


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
