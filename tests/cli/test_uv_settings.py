"""The user's pip settings, said to uv."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from truss.errors import BuildError
from truss.pip_files import pip_files
from truss.uv_settings import uv_settings

PROXY_NAMES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, {}),
        ({"PIP_INDEX_URL": "https://i/simple"}, {"UV_DEFAULT_INDEX": "https://i/simple"}),
        (
            {"PIP_EXTRA_INDEX_URL": "https://a https://b"},
            {"UV_INDEX": "https://a https://b", "UV_INDEX_STRATEGY": "unsafe-best-match"},
        ),
        ({"PIP_FIND_LINKS": "https://a /wheels"}, {"UV_FIND_LINKS": "https://a,/wheels"}),
        ({"PIP_TRUSTED_HOST": "a b:80"}, {"UV_INSECURE_HOST": "a b:80"}),
        ({"PIP_CERT": "/ca.pem"}, {"SSL_CERT_FILE": "/ca.pem"}),
        ({"PIP_DEFAULT_TIMEOUT": "60"}, {"UV_HTTP_TIMEOUT": "60"}),
        ({"PIP_DEFAULT_TIMEOUT": "60", "PIP_TIMEOUT": "5"}, {"UV_HTTP_TIMEOUT": "5"}),
        ({"PIP_INDEX_URL": "https://i", "UV_DEFAULT_INDEX": "https://u"}, {}),
        (
            {"PIP_INDEX_URL": "https://i", "UV_INDEX_URL": "https://u"},
            {"UV_DEFAULT_INDEX": "https://u", "UV_INDEX_URL": None},
        ),
        (
            {
                "PIP_EXTRA_INDEX_URL": "https://i",
                "UV_INDEX": "n=https://a",
                "UV_EXTRA_INDEX_URL": "https://b",
            },
            {"UV_INDEX": "https://a https://b https://i", "UV_EXTRA_INDEX_URL": None},
        ),
        ({"PIP_DEFAULT_TIMEOUT": "15.5"}, {"UV_HTTP_TIMEOUT": "16"}),
        ({"PIP_PROXY": "me@p:1"}, dict.fromkeys(PROXY_NAMES, "me@p:1")),
        ({"PIP_INDEX_URL": "/srv/a b"}, {"UV_DEFAULT_INDEX": "file:///srv/a%20b"}),
        (
            {"UV_OVERRIDE": "/o", "UV_EXCLUDE_NEWER": "2020-01-01"},
            {"UV_OVERRIDE": None, "UV_EXCLUDE_NEWER": None},
        ),
        ({"PIP_EXTRA_INDEX_URL": "https://i", "UV_INDEX_STRATEGY": "first-index"}, {"UV_INDEX": "https://i"}),
        ({"PIP_CERT": "/ca.pem", "SSL_CERT_FILE": "/other.pem"}, {}),
    ],
)
def test_variables(environ: dict[str, str], expected: dict[str, str | None]) -> None:
    """What pip's variables say reaches uv, unless uv's own say something else; lists add up."""
    wanted = {"UV_NO_CONFIG": "1", **environ, **expected}

    assert uv_settings(environ, []).environ == {name: value for name, value in wanted.items() if value}


def test_relative_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative folder is meant from where the user is."""
    monkeypatch.chdir(tmp_path)

    found = uv_settings({"PIP_FIND_LINKS": "./wheels"}, []).environ["UV_FIND_LINKS"]

    assert found == f"{tmp_path}/wheels"


@pytest.mark.parametrize(
    ("value", "arguments"), [("1", ("--no-index",)), ("true", ("--no-index",)), ("0", ())]
)
def test_no_index(value: str, arguments: tuple[str, ...]) -> None:
    """Being cut off from every index is an argument, for uv has no variable for it."""
    assert uv_settings({"PIP_NO_INDEX": value}, []).arguments == arguments


def test_an_active_environment_does_not_matter() -> None:
    """A venv that happens to be active, or a wish to install system-wide, is not about the model."""
    environ = {"VIRTUAL_ENV": "/v", "UV_SYSTEM_PYTHON": "1", "UV_CACHE_DIR": "/c"}

    assert uv_settings(environ, []).environ == {"UV_CACHE_DIR": "/c", "UV_NO_CONFIG": "1"}


def test_files(tmp_path: Path) -> None:
    """Files count in their order, [install] before [global], and every variable before any file."""
    weak, strong = tmp_path / "weak.conf", tmp_path / "strong.conf"
    weak.write_text("[global]\nindex-url = https://weak\ntimeout = 7\ncert = /weak.pem\n")
    strong.write_text(
        "[global]\nindex_url = https://global\nextra-index-url =\n  https://a\n  https://b\n"
        "[install]\nindex-url = https://install\nno-index = yes\n[list]\nformat = columns\n"
    )

    found = uv_settings({"PIP_CERT": "/mine.pem"}, [weak, tmp_path / "none.conf", strong])

    assert found.arguments == ("--no-index",)
    assert found.environ == {
        "PIP_CERT": "/mine.pem",
        "SSL_CERT_FILE": "/mine.pem",
        "UV_DEFAULT_INDEX": "https://install",
        "UV_HTTP_TIMEOUT": "7",
        "UV_INDEX": "https://a https://b",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_NO_CONFIG": "1",
    }


def test_an_install_section_before_a_stronger_file(tmp_path: Path) -> None:
    """Pip looks at sections before it looks at files."""
    weak, strong = tmp_path / "weak.conf", tmp_path / "strong.conf"
    weak.write_text("[install]\nindex-url = https://install\n")
    strong.write_text("[global]\nindex-url = https://global\n")

    assert uv_settings({}, [weak, strong]).environ["UV_DEFAULT_INDEX"] == "https://install"


def test_how_this_machine_works(tmp_path: Path) -> None:
    """What a uv.toml says of caches and the like reaches uv, which reads no file any more."""
    (tmp_path / "uv.toml").write_text('cache-dir = "/c"\noffline = true\nconcurrent-downloads = 2\n')

    found = uv_settings({"UV_CONFIG_FILE": str(tmp_path / "uv.toml"), "UV_OFFLINE": "0"}, []).environ

    told = {"UV_CACHE_DIR": "/c", "UV_OFFLINE": "0", "UV_CONCURRENT_DOWNLOADS": "2", "UV_NO_CONFIG": "1"}
    assert found == told


def test_broken_file(tmp_path: Path) -> None:
    """A file that pip could not read either is named."""
    path = tmp_path / "pip.conf"
    path.write_text("index-url = https://a\n")

    with pytest.raises(BuildError, match="pip's configuration"):
        uv_settings({}, [path])


def test_which_files() -> None:
    """The files are those of pip: shared, the user's, and the named one as the strongest; or none at all."""
    found = pip_files({"HOME": "/home/u", "PIP_CONFIG_FILE": "/named", "XDG_CONFIG_DIRS": "/a:/b"})

    assert found[:5] == [
        Path("/b/pip/pip.conf"),
        Path("/a/pip/pip.conf"),
        Path("/etc/pip.conf"),
        Path("/home/u/.pip/pip.conf"),
        Path("/home/u/.config/pip/pip.conf"),
    ]
    assert found[-1] == Path("/named")
    assert pip_files({"PIP_CONFIG_FILE": os.devnull}) == []
