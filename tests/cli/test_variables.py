"""`truss.variables`: what of requirements is the user's secret, and that it stays so."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest

from tests.helpers import build_tree
from truss.variables import secrets_in, variable_names, variables, with_names, without_secrets

if TYPE_CHECKING:
    from pathlib import Path

LINE = "probe @ https://${USER_NAME}:${TOKEN}@host/${TOKEN}/probe.whl?sig=${SIGNATURE}"


def test_variables_that_an_installer_expands() -> None:
    """They are read as pip reads them; those of the image are its own, and those that are not set stay."""
    lines = [LINE, "$A ${b} ${PATH} ${HOME} x==${VERSION}"]

    assert variable_names(lines) == ["SIGNATURE", "TOKEN", "USER_NAME", "VERSION"]
    assert variables(lines, {"TOKEN": "t", "PATH": "/bin", "VERSION": ""}) == {"TOKEN": "t"}


def test_what_is_not_to_be_shown() -> None:
    """Long values, and short ones where they are a login; tokens in queries, whoever wrote them."""
    environ = {"USER_NAME": "me", "TOKEN": "t0k", "SIGNATURE": "a-long-signature"}

    assert secrets_in([LINE], environ) == {"t0k", "a-long-signature"}
    assert secrets_in(["probe @ https://${TOKEN}@host/x.whl"], {"TOKEN": "t0ken"}) == {"t0ken"}
    assert secrets_in(["--index-url https://me:pass@host/simple"], {}) == {"pass"}
    assert secrets_in(["x @ https://host/x.whl?token=abcdefgh&v=1#sha256=12345678"], {}) == {"abcdefgh"}
    assert secrets_in(["x==${VERSION}", "y @ https://${MISSING}@host/y.whl"], {"VERSION": "1.0"}) == set()


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("x @ https://me:pass@host/x.whl", "x @ https://host/x.whl"),
        (
            "x @ https://host/x.whl?a=1&token=abcdefgh#sha256=12",
            "x @ https://host/x.whl?a=1&token=****#sha256=12",
        ),
        ("x @ https://host/x.whl?token=${LONG_TOKEN}", "x @ https://host/x.whl?token=${LONG_TOKEN}"),
        ("x==1.0 ; python_version >= '3.12'", "x==1.0 ; python_version >= '3.12'"),
    ],
)
def test_requirements_to_be_shown(line: str, shown: str) -> None:
    """Logins go, tokens become stars, and names of variables tell nothing."""
    assert without_secrets(line) == shown


def test_a_value_within_another(tmp_path: Path) -> None:
    """A login that is a part of a token leaves nothing of the token to be read, whoever puts the names back."""
    script = files("truss_templates") / "docker" / "variables.py"
    values = {"A_USER": "ci", "B_TOKEN": "ci-9f8e7d", "EMPTY": "", "SAME": "ci"}
    url = "https://host/x.whl?u=ci&token=ci-9f8e7d"
    shown = "https://host/x.whl?u=${A_USER}&token=${B_TOKEN}"
    build_tree(tmp_path, {"requirements.lock": f"x @ {url}\n"})

    subprocess.run(
        [sys.executable, "-I", str(script), str(tmp_path), *values], env=values, check=True, timeout=30
    )

    assert (tmp_path / "requirements.lock").read_text() == f"x @ {shown}\n"
    assert with_names(f"x @ {url}", values) == f"x @ {shown}"
    assert with_names(f"x @ {url}", {}) == f"x @ {url}"


def test_names_in_place_of_values(tmp_path: Path) -> None:
    """What was installed is known by its URL as it was written: in the lock, and beside each package."""
    script = files("truss_templates") / "docker" / "variables.py"
    known = "site-packages/x-1.dist-info/direct_url.json"
    build_tree(
        tmp_path,
        {
            "requirements.lock": "t==1\nx @ https://host/x.whl?token=t%2F1&v=1\n",
            known: '{"url":"https://host/x.whl?token=t%2F1&v=1","archive_info":{}}',
        },
    )

    subprocess.run(
        [sys.executable, "-I", str(script), str(tmp_path), "TOKEN", "OTHER"],
        env={"TOKEN": "t/1"},
        check=True,
        timeout=30,
    )

    assert (tmp_path / "requirements.lock").read_text() == "t==1\nx @ https://host/x.whl?token=${TOKEN}&v=1\n"
    assert (tmp_path / known).read_text() == (
        '{"url":"https://host/x.whl?token=${TOKEN}&v=1","archive_info":{}}'
    )
