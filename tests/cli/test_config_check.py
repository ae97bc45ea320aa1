"""`truss config validate` says all that is wrong at once: in config.yaml, and with the files that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import build_tree
from truss.config_check import check_config
from truss.errors import PackageError
from truss.plan import plan_release

HERE = Path()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, so that messages name `config.yaml` only."""
    (tmp_path / "package").mkdir()
    monkeypatch.chdir(tmp_path / "package")


def refused(config: str, **files: str) -> PackageError:
    """Check a package that is wrong and return the error."""
    build_tree(HERE, {"config.yaml": config, **files})
    with pytest.raises(PackageError) as caught:
        check_config(HERE)
    return caught.value


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("model_module_dir: src", "model_module_dir: There is no folder src in the package."),
        ("bundled_packages_dir: lib", "bundled_packages_dir: There is no folder lib in the package."),
        ("data_dir: config.yaml.d", "data_dir: There is no folder config.yaml.d in the package."),
        ("model_class_filename: x.py", "model_class_filename: There is no file model/x.py in the package."),
    ],
)
def test_folders_that_are_missing(config: str, message: str) -> None:
    """What the file names and the package lacks is told before a push meets it."""
    assert message in (refused(config, **{"model/model.py": ""}).details or "")


@pytest.mark.parametrize(
    "config",
    [
        "data_dir: data\nbundled_packages_dir: packages",
        "docker_server: {start_command: a, readiness_endpoint: /}\nmodel_class_filename: gone.py",
        "data_dir: weights\nexternal_data: [{url: 'https://example.org/x', local_data_path: x}]",
    ],
    ids=["usual names", "no class", "downloads"],
)
def test_folders_that_need_not_be_there(config: str) -> None:
    """Git keeps no empty folder, a custom server has no class, and downloads make their folder."""
    build_tree(
        HERE, {"config.yaml": config, "model/model.py": "class Model:\n    def predict(self, x): return x\n"}
    )

    check_config(HERE)

    if "external_data" not in config:
        plan_release(HERE)


def test_files_that_are_missing(tmp_path: Path) -> None:
    """Each file and folder that is not there is told where it is named, beside what else is wrong."""
    error = refused(
        "requirements_file: r.txt\nexternal_package_dirs: [../shared, ../other]\nresources: {cpu: many}\n"
    )

    assert error.message == "config.yaml has 4 problems."
    assert error.details == (
        "config.yaml:1:20: requirements_file: There is no file r.txt in the package.\n"
        "  1 | requirements_file: r.txt\n"
        "    |                    ^\n"
        "  Add it, or correct `requirements_file`.\n"
        "\n"
        f"config.yaml:2:25: external_package_dirs.0: There is no folder {tmp_path}/shared.\n"
        "  2 | external_package_dirs: [../shared, ../other]\n"
        "    |                         ^\n"
        "  Add it, or correct `external_package_dirs` in config.yaml.\n"
        "\n"
        f"config.yaml:2:36: external_package_dirs.1: There is no folder {tmp_path}/other.\n"
        "  2 | external_package_dirs: [../shared, ../other]\n"
        "    |                                    ^\n"
        "  Add it, or correct `external_package_dirs` in config.yaml.\n"
        "\n"
        "config.yaml:3:18: resources.cpu: `many` is no number of cores\n"
        "  3 | resources: {cpu: many}\n"
        "    |                  ^\n"
        "  Write `4`, `0.5` or `500m`."
    )


def test_what_is_wrong_in_a_file() -> None:
    """The lines of a requirements file that are wrong are shown below the key that names it."""
    error = refused("requirements_file: r.txt\n", **{"r.txt": "numpy\nnumpy=1.0\n"})

    assert "config.yaml:1:20: requirements_file: r.txt cannot be used as it is." in error.details
    assert (
        "  r.txt:2:1: `numpy=1.0` compares by a single `=`: write `==`\n    2 | numpy=1.0\n" in error.details
    )


def test_wheels_that_are_missing() -> None:
    """A wheel that the package does not have is told at the requirement that names it."""
    error = refused("requirements: [a, ./wheels/x-1.0-py3-none-any.whl]\n")

    (problem,) = error.problems
    assert (problem.line, problem.column, problem.key) == (1, 19, "requirements.1")
    assert "there is no file `wheels/x-1.0-py3-none-any.whl` in the package" in problem.problem


def test_a_file_is_not_looked_for_where_its_name_is_wrong() -> None:
    """One problem of a key is enough."""
    assert len(refused("requirements_file: ../r.txt\nexternal_package_dirs: [/x]\n").problems) == 2
    assert len(refused("requirements: [a]\nrequirements_file: r.txt\n").problems) == 1


def test_nothing_is_wrong() -> None:
    """A package in which all is there has its configuration."""
    build_tree(HERE.parent, {"config.yaml": "requirements_file: r.txt\nmodel_name: x\n", "r.txt": "numpy\n"})

    assert check_config(HERE).model_name == "x"
