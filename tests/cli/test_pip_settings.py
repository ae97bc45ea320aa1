"""`truss.pip_settings`: what pip reads is what the user set."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest

from tests.helpers import build_tree
from tests.plans import make_file
from tests.wheelhouse import make_wheel
from truss.context import Member
from truss.errors import BuildError
from truss.pip_settings import PipSettings, pip_settings, proxies
from truss.uv_settings import find_uv

if TYPE_CHECKING:
    from pathlib import Path


NO_FILES = {"PIP_CONFIG_FILE": os.devnull, "HOME": "/nowhere", "UV_NO_CONFIG": "1"}


def sent(settings: PipSettings) -> dict[str, str]:
    """Return the files that go with a build, as text."""
    return {m.path.name: m.content.decode() for m in settings.members if isinstance(m.content, bytes)}


def as_pip_reads(settings: PipSettings, folder: Path) -> dict[str, str]:
    """Return the options that pip itself finds in the settings."""
    config = folder / "pip.conf"
    config.write_text(sent(settings)["pip.conf"])
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env={**environ, "PIP_CONFIG_FILE": str(config)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    pairs = (line.partition("=") for line in listed.stdout.splitlines())
    return {name.removeprefix("global."): value.strip("'") for name, _, value in pairs}


def test_pip_finds_the_users_index(tmp_path: Path) -> None:
    """Values reach pip as they are: a percent sign, several links, a number."""
    settings = pip_settings(
        {
            **NO_FILES,
            "PIP_INDEX_URL": "https://me:p%40ss@index.test/simple",
            "PIP_EXTRA_INDEX_URL": "https://a.test/simple  https://b.test/simple",
            "PIP_FIND_LINKS": "https://c.test/wheels",
            "PIP_TRUSTED_HOST": "index.test a.test",
            "PIP_DEFAULT_TIMEOUT": "180",
            "PIP_REQUIRE_VIRTUALENV": "1",
        }
    )

    options = as_pip_reads(settings, tmp_path)

    assert options["index-url"] == "https://me:p%40ss@index.test/simple"
    assert options["extra-index-url"] == "https://a.test/simple https://b.test/simple"
    assert options["find-links"] == "https://c.test/wheels"
    assert options["trusted-host"] == "index.test a.test"
    assert options["timeout"] == "180"
    assert "require-virtualenv" not in options


def test_indexes_in_folders_are_left_out_and_told() -> None:
    """A build in a container sees no folder of the user, whatever names it."""
    settings = pip_settings(
        {
            **NO_FILES,
            "PIP_INDEX_URL": "https://c.test",
            "PIP_EXTRA_INDEX_URL": "/srv/simple file:///x https://d.test",
        }
    )

    assert settings.unseen == ("/srv/simple", "file:///x")
    assert "extra-index-url = https://d.test\n" in sent(settings)["pip.conf"]


def test_packages_of_folders_go_along(tmp_path: Path) -> None:
    """Those that the requirements in the context may need, the package's own wheels included, and no others."""
    house = tmp_path / "house"
    for name in ("tiny", "base", "other"):
        make_wheel(house, name)
    ours = make_wheel(tmp_path / "package", "ours", requires=("base",))
    context = [
        Member(PurePosixPath("sources/requirements.txt"), b"tiny==1.0\n./ours-1.0-py3-none-any.whl\n"),
        Member(PurePosixPath("sources/ours-1.0-py3-none-any.whl"), make_file(tmp_path / "package", ours)),
    ]
    environ = {**NO_FILES, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{house} https://c.test/wheels"}

    settings = pip_settings(environ, context)

    (folder,) = {member.path.parent for member in settings.wheels}
    assert [member.path.name for member in settings.wheels] == [
        "base-1.0-py3-none-any.whl",
        "tiny-1.0-py3-none-any.whl",
    ]
    assert (
        f"find-links = https://c.test/wheels /opt/truss/build/{folder}\nno-index = true\n"
        in sent(settings)["pip.conf"]
    )


def test_packages_of_the_same_name_and_version_are_not_mixed_up(tmp_path: Path) -> None:
    """The cache of uv knows them by their folder: it is one for the same bytes, and another one for others."""
    context = [Member(PurePosixPath("requirements.txt"), b"tiny==1.0\n")]

    def links(house: str) -> str:
        settings = pip_settings({**NO_FILES, "PIP_FIND_LINKS": str(tmp_path / house)}, context)
        return as_uv_is_told(settings, tmp_path)["UV_FIND_LINKS"]

    make_wheel(tmp_path / "one", "tiny", source="WHO = 1")
    make_wheel(tmp_path / "other", "tiny", source="WHO = 2")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")

    assert links("one") != links("other")
    assert links("one") == links("copy")


def test_certificates_go_with_the_settings(tmp_path: Path) -> None:
    """Pip in the image trusts what pip on this machine trusts; pip's own variable comes first."""
    mine, system = tmp_path / "mine.pem", tmp_path / "system.pem"
    mine.write_text("mine")
    system.write_text("system")

    files = sent(pip_settings({**NO_FILES, "PIP_CERT": str(mine), "SSL_CERT_FILE": str(system)}))

    assert "cert = /opt/truss/build/settings/certificates.pem\n" in files["pip.conf"]
    assert files["certificates.pem"] == "mine"


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """The error names the file, and what may have named it."""
    with pytest.raises(BuildError) as caught:
        pip_settings({**NO_FILES, "SSL_CERT_FILE": str(tmp_path / "gone.pem")})

    expected = f"The certificates {tmp_path}/gone.pem cannot be read: No such file or directory."
    assert expected == caught.value.message
    assert "SSL_CERT_FILE" in caught.value.hint


def test_proxies_are_handed_on_and_written_nowhere() -> None:
    """Docker keeps these arguments out of images by itself; empty ones are as if they were not set."""
    environ = {"HTTPS_PROXY": "http://me:secret@proxy.test:3128", "no_proxy": "", "LANG": "C", **NO_FILES}

    proxy = "http://me:secret@proxy.test:3128"
    assert proxies(environ) == {"HTTPS_PROXY": proxy, "https_proxy": proxy}
    assert "secret" not in "".join(sent(pip_settings(environ)).values())


def test_a_proxy_for_all_is_one_for_each() -> None:
    """Docker's first builder and apt know no ALL_PROXY, and apt no capitals; what is said of one counts more."""
    told = proxies({"all_proxy": "http://proxy.test:1", "https_proxy": "http://other.test:2"})

    assert told["HTTP_PROXY"] == told["http_proxy"] == "http://proxy.test:1"
    assert told["HTTPS_PROXY"] == told["https_proxy"] == "http://other.test:2"


def test_without_settings_there_are_files_all_the_same() -> None:
    """The build copies them, so they have to be there."""
    settings = pip_settings(NO_FILES)

    assert [str(member.path) for member in settings.members] == ["settings/pip.conf", "settings/uv.env"]
    assert settings.unseen == ()


def test_uv_reads_no_settings_but_the_users(tmp_path: Path) -> None:
    """What a base image has beside its code decides nothing; uv is told of the proxies and certificates of uv.toml."""
    base = tmp_path / "base"
    make_wheel(tmp_path / "house", "tiny", "1.0")
    make_wheel(tmp_path / "house", "tiny", "2.0")
    build_tree(base, {"app/uv.toml": 'override-dependencies = ["tiny==2.0"]\n', "home/nothing": ""})
    told = as_uv_is_told(pip_settings({**NO_FILES, "UV_OVERRIDE": "/nowhere"}), tmp_path)
    target = tmp_path / "target"
    words = ["pip", "install", "--offline", "--no-index", "--find-links", str(tmp_path / "house")]

    subprocess.run(
        [find_uv(), *words, "--target", str(target), "tiny==1.0"],
        cwd=base / "app",
        env={
            **told,
            "HOME": str(base / "home"),
            "PATH": os.environ["PATH"],
            "UV_CACHE_DIR": str(tmp_path / "c"),
        },
        check=True,
        capture_output=True,
        timeout=60,
    )

    assert [path.name for path in target.glob("*.dist-info")] == ["tiny-1.0.dist-info"]


def test_what_a_uv_file_says_goes_with_a_build(tmp_path: Path) -> None:
    """The system's file as well as the user's, plain URLs as well as tables, the strategy, and proxies as arguments."""
    user = 'extra-index-url = ["https://b.test"]\nindex-strategy = "unsafe-best-match"\n[[index]]\nurl = "https://a.test"\n'
    system = 'http-proxy = "http://me:word@proxy.test"\nextra-index-url = ["https://c.test"]\n'
    build_tree(tmp_path, {"home/.config/uv/uv.toml": user, "xdg/uv/uv.toml": system})
    environ = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "xdg")}

    settings = pip_settings(environ, files=())
    told = as_uv_is_told(settings, tmp_path)

    assert told["UV_INDEX"] == "https://a.test https://b.test https://c.test"
    assert told["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert proxies(environ)["http_proxy"] == "http://me:word@proxy.test"
    assert settings.secrets == {"word"}


def as_uv_is_told(settings: PipSettings, folder: Path) -> dict[str, str]:
    """Return the variables that the script of the settings sets, in a shell as a build has it."""
    script = folder / "uv.env"
    script.write_text(sent(settings)["uv.env"])
    shown = subprocess.run(
        ["/bin/sh", "-c", f". {script}; env"],
        env={},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return dict(line.split("=", 1) for line in shown.stdout.splitlines())


def test_uv_is_told_the_same_as_pip(tmp_path: Path) -> None:
    """Whatever characters a password has; folders of this machine are left out, certificates go along."""
    certificates = tmp_path / "ca.pem"
    certificates.write_text("mine")
    settings = pip_settings(
        {
            **NO_FILES,
            "PIP_INDEX_URL": "https://me:p$a'ss@index.test/simple",
            "PIP_EXTRA_INDEX_URL": "https://a.test/simple https://b.test/simple",
            "PIP_FIND_LINKS": "https://c.test/wheels /srv/wheels",
            "PIP_TRUSTED_HOST": "index.test",
            "PIP_CERT": str(certificates),
        }
    )

    told = as_uv_is_told(settings, tmp_path)

    assert told["UV_DEFAULT_INDEX"] == "https://me:p$a'ss@index.test/simple"
    assert told["UV_INDEX"] == "https://a.test/simple https://b.test/simple"
    assert told["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert told["UV_FIND_LINKS"] == "https://c.test/wheels"
    assert told["UV_INSECURE_HOST"] == "index.test"
    assert told["SSL_CERT_FILE"] == "/opt/truss/build/settings/certificates.pem"
