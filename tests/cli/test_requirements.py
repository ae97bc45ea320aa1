"""Requirements: read from a file, refused where no image could follow, implied by imports."""

from __future__ import annotations

import pytest

from truss.requirements import Line, implied, objection, read_lines


def test_read_lines() -> None:
    """Comments and empty lines go, joined lines are one, options and markers stay."""
    text = (
        "# pinned\n"
        "\n"
        "torch==2.0.1  # the last one that works\n"
        "--extra-index-url https://example.org/simple\n"
        "numpy==1.26 \\\n"
        "    --hash=sha256:aa \\\n"
        "    --hash=sha256:bb\n"
        "git+https://example.org/x.git#egg=x ; python_version > '3.9'\n"
        "last \\"
    )

    assert read_lines(text) == [
        Line(3, "torch==2.0.1"),
        Line(4, "--extra-index-url https://example.org/simple"),
        Line(5, "numpy==1.26      --hash=sha256:aa      --hash=sha256:bb"),
        Line(8, "git+https://example.org/x.git#egg=x ; python_version > '3.9'"),
        Line(9, "last"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "-r more.txt",
        "-rmore.txt",
        "--requirement=x",
        "-c x",
        "-e .",
        "--editable=./x",
        "-f wheels",
        "--find-links=./wheels",
        "--index-url file:///srv/simple",
        "x @ file:///srv/x-1.0-py3-none-any.whl",
        "vendored/x",
        "vendored/x[extra] ; python_version > '3.9'",
        "sdist/x-1.0.tar.gz",
        "x-1.0.tar.gz",
        "../x-1.0-py3-none-any.whl",
        "./x",
        "../x",
        "/x.whl",
        "~/x",
        "C:\\x",
        "numpy=1.0",
        "numpy [x] = 1.0",
        "a b",
        "--extra-index-url",
        "--upgrade six",
        "--no-cache-dir",
        "--pre --upgrade",
        "hg+https://example.org/x",
        "six@1.0",
        "!!",
        "six[a",
        "six==latest",
        "six==1.0.0-foo",
        "torch>=<2",
        "x ; python_version > 3.8",
    ],
)
def test_what_is_refused(line: str) -> None:
    """What names a file of this machine, for no image could see it, and what is no requirement."""
    assert objection(line) is not None


@pytest.mark.parametrize(
    "line",
    [
        "torch",
        "Torch[cuda]>=2 ; python_version < '3.13'",
        "x @ https://example.org/x.whl",
        "https://example.org/x-1.0.tar.gz",
        "git+https://example.org/x/y.git@v1",
        "x[a] @ git+https://example.org/x.tar.gz",
        "--extra-index-url=u/simple",
        "--pre",
        "./wheels/x-1.0-py3-none-any.whl",
        "wheels/x-1.0-py3-none-any.whl[extra] ; python_version > '3.9'",
        "--find-links https://example.org/wheels",
        "--extra-index-url u",
        "--extra-index-url=u",
        "numpy == 1.0",
        "numpy===1.0",
        "numpy >=1, <=2",
        "numpy (>=1)",
        "numpy==1.*",
        "torch==2.0.1+cu118",
        "x@https://example.org/x.whl",
        "x @ https://example.org/x.whl; python_version > '3.9'",
        "https://example.org/x-1.0-py3-none-any.whl ; python_version > '3.9'",
        "git+https://${TOKEN}@example.org/x.git",
        "x @ https://${NAME}:${TOKEN}@example.org/x.tar.gz",
        "x @ ${ADDRESS}",
        "${ADDRESS}",
        "git+ssh://git@example.org/x.git",
        "x==1.0 --hash=sha256:aa --hash sha256:bb",
        "x==1.0 ; sys_platform != 'win32' --hash=sha256:aa",
        "wheels/x-1.0-py3-none-any.whl --hash=sha256:aa",
        "-i https://example.org/simple --extra-index-url ${ADDRESS} --pre",
        "--pre six",
        "--no-binary :all:",
        "--only-binary=x",
        "--trusted-host example.org",
    ],
)
def test_requirements_that_are_fine(line: str) -> None:
    """Projects, URLs and options that concern indexes pass."""
    assert objection(line) is None


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        (
            "torch==2.0.1 --index-url https://example.org/whl/cu118",
            "write `torch==2.0.1` on one and `--extra-index-url https://example.org/whl/cu118` on another",
        ),
        ("six --pre", "write `six` on one and `--pre` on another"),
        ("six --no-build-isolation", "`--no-build-isolation` is an option of a command: write `six` alone"),
        ("x.whl --no-deps", "write `x.whl` alone"),
        ("--upgrade six", "`--upgrade` is an option of a command, not of a requirement: remove it"),
        ("--index-url", "`--index-url` needs a value"),
        ("pip install -U six", "is a command: write what it installs"),
        ("'six'", "write `six`"),
        ("six 1.0", "write `six==1.0`"),
        ("six=1.0", "write `==`"),
        ("six=>1.0", "write `>=`"),
        ("six>=1.*", "write `>=1`"),
        ("six~=1", "write `~=1.0`"),
        ("six==1.0 numpy==2", "each requirement is a line of its own"),
        ("six, numpy", "each requirement is a line of its own"),
        ("six@1.0", "write `==` for a version"),
        ("six ; linux", 'write one like `six ; python_version < "3.13"`'),
        ("torch[a]>=<2", "like `torch[a]==1.0` or `torch[a]>=1.0,<2`"),
        ("!!", "write a name and versions, like `torch==1.0`"),
    ],
)
def test_what_to_write_instead(line: str, advice: str) -> None:
    """What no installer reads is told with what it does read."""
    assert advice in (objection(line) or "")


@pytest.mark.parametrize(
    ("requirements", "modules", "expected"),
    [
        ([], {"fastapi", "os"}, ("fastapi",)),
        ([], {"fastapi", "starlette"}, ("fastapi", "starlette")),
        (["FastAPI [standard] ==0.110"], {"fastapi"}, ()),
        (["fastapi>=0.110"], {"fastapi", "starlette"}, ("starlette",)),
        (["fastapi-users", "fastapi_utils"], {"fastapi"}, ("fastapi",)),
        (["fastapi @ https://example.org/f.whl"], {"fastapi"}, ()),
        (["./wheels/fastapi-0.110-py3-none-any.whl"], {"fastapi"}, ()),
        (["torch"], {"torch"}, ()),
    ],
)
def test_implied(requirements: list[str], modules: set[str], expected: tuple[str, ...]) -> None:
    """A model that imports fastapi or starlette gets it, unless its author has named it already."""
    assert implied(requirements, modules) == expected
