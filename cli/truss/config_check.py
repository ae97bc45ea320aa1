"""Everything that is wrong with config.yaml at once: what it says, and the files and folders that it names."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from truss.config import TrussConfig, read_source, understand
from truss.config_problems import located
from truss.errors import BuildError, PackageError
from truss.memory import Memory
from truss.package import FOLDERS, external_folder, no_folder, required_folders
from truss.requirement_files import read_requirements
from truss.requirements import wheel_path
from truss.yaml_source import dotted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from truss.errors import Problem
    from truss.yaml_source import Location, YamlSource

NAMING = (
    *("requirements", "requirements_file", "external_package_dirs", "python_version"),
    *(*FOLDERS, "model_class_filename", "docker_server", "external_data"),
)
"""Keys that name files, and what is needed to look into these."""


def check_config(package: Path) -> TrussConfig:
    """Return the configuration of a package in which nothing is wrong that can be told without building it.

    Raises:
        PackageError: With every problem, each at its line and column.
    """
    source = read_source(package)
    found = understand(source)
    problems = [] if isinstance(found, TrussConfig) else found
    config = found if isinstance(found, TrussConfig) else _what_is_right(source, problems)
    problems += _of_files(package, source, config)
    if problems:
        raise source.refusal(problems)
    return config


def _what_is_right(source: YamlSource, problems: list[Problem]) -> TrussConfig:
    """Return a configuration of those keys that name files and have no problem."""
    wrong = {one.key.partition(".")[0] for one in problems}
    return TrussConfig.model_validate(
        {key: source.data[key] for key in NAMING if key in source.data and key not in wrong}
    )


def _of_files(package: Path, source: YamlSource, config: TrussConfig) -> Iterator[Problem]:
    """Yield what is wrong with the files and folders that a configuration names."""
    for number, line in enumerate(config.requirements):
        if (wheel := wheel_path(line)) and not (package / wheel).is_file():
            problem = f"there is no file `{wheel}` in the package"
            yield located(source, ("requirements", number), f"requirements.{number}: {problem}")
    looks: dict[Location, Callable[[], object]] = {
        ("requirements_file",): partial(read_requirements, package, config, Memory()),
    }
    for key in required_folders(config) & config.model_fields_set:
        looks[key,] = partial(_folder, package, getattr(config, key))
    named = "model_class_filename" in config.model_fields_set and config.docker_server is None
    if named and (package / config.model_module_dir).is_dir():
        looks["model_class_filename",] = partial(_file, package, str(config.model_file))
    for number, name in enumerate(config.external_package_dirs):
        looks["external_package_dirs", number] = partial(external_folder, package, name)
    for location, look in looks.items():
        if (found := _told(source, location, look)) is not None:
            yield found


def _folder(package: Path, name: str) -> None:
    if not (package / name).is_dir():
        raise no_folder(name)


def _file(package: Path, name: str) -> None:
    if not (package / name).is_file():
        raise PackageError(f"There is no file {name} in the package.", hint="Add it, or correct its name.")


def _told(source: YamlSource, location: Location, look: Callable[[], object]) -> Problem | None:
    """Return what is wrong with a file or folder, as a problem of the key that names it."""
    try:
        look()
    except (PackageError, BuildError) as exc:
        advice = "\n".join(filter(None, (exc.details, exc.hint)))
        return located(source, location, f"{dotted(location)}: {exc.message}", advice)
    return None
