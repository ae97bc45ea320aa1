"""config.yaml as models: the schema users meet."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError

from truss.config_commands import BuildCommands  # noqa: TC001 pydantic reads annotations
from truss.config_problems import explain, located
from truss.config_rules import broken_rules
from truss.config_runtime import Runtime
from truss.config_sections import BaseImage, Build, DockerServer, ExternalData, Resources, Section
from truss.config_values import (
    CONFIG,
    EMPTY,
    ClassName,
    Folders,
    Inside,
    ModelName,
    PythonFile,
    PythonVersion,
    Requirements,
    SecretOrLogin,
    SystemPackages,
    Unused,
    Variables,
)
from truss.errors import PackageError
from truss.names import LOGIN, slug
from truss.yaml_source import dotted, read_yaml
from truss_server.protocol import DEFAULT_CONCURRENCY, ENVIRONMENT_VARIABLE

if TYPE_CHECKING:
    from truss.errors import Problem
    from truss.yaml_source import Location, YamlSource


OF_A_MODEL = {"enable_debug_logs", "transport"}
"""Keys of `runtime` that a server of one's own has no use for."""


class TrussConfig(Section):
    """A package's `config.yaml`."""

    model_name: ModelName | None = Field(
        default=None,
        description="Name of the model, in any words; URLs and images have it in lower case and with dashes. "
        "Without it, the name of the folder.",
        examples=["falcon-7b"],
    )
    description: str | None = Field(
        default=None, description="What the model does, for people.", examples=["Falcon 7B, chat"]
    )
    model_metadata: dict[str, Any] = Field(
        default={},
        description='Settings of your own; the model gets them as `config["model_metadata"]`. '
        "`example_model_input` is what `truss push` shows in its example of a call.",
        examples=[{"checkpoint": "tiiuae/falcon-7b", "example_model_input": {"prompt": "Hi"}}],
    )
    python_version: PythonVersion = Field(
        default="py311",
        description="Python of the model: `py39` to `py314`, also written `3.11`. Without it, `local` takes the "
        "interpreter that truss runs in.",
        examples=["py312"],
    )
    requirements: Requirements = Field(
        default=(),
        description="What the model's environment holds, each as a line of a pip file; a wheel in the package by its "
        "path there.",
        examples=[["torch==2.5.1", "transformers>=4.46", "./wheels/ours-1.0-py3-none-any.whl"]],
    )
    requirements_file: Annotated[Inside | None, EMPTY] = Field(
        default=None,
        description="Instead of `requirements`: a pip file, which may include others of the package (`-r`, `-c`), "
        "the `dependencies` of a `pyproject.toml`, or a `uv.lock`, installed exactly as it is.",
        examples=["requirements.txt"],
    )
    system_packages: SystemPackages = Field(
        default=(),
        description="Debian packages of the image, as for `apt-get install`; `local` cannot install them.",
        examples=[["ffmpeg", "libsndfile1"]],
    )
    build_commands: BuildCommands = Field(
        default=(),
        description="Shell commands that an image runs as root after the requirements are installed, with the model's "
        "environment first on PATH; they see nothing of the package, and `local` does not run them.",
        examples=[["python -m nltk.downloader punkt"]],
    )
    environment_variables: Variables = Field(
        default={},
        description="Variables of the model's process; one without a value is not set. Images show them: what "
        "nobody may see belongs to `secrets`.",
        examples=[{"HF_HUB_OFFLINE": "1"}],
    )
    secrets: dict[SecretOrLogin, str | None] = Field(
        default={},
        description="Names of secrets that the model may ask for, each with a default or `null`. A value comes from "
        "`truss secrets set NAME`, else the environment variable `TRUSS_SECRET_NAME`, else the default.",
        examples=[{"hf_access_token": None}],
    )
    data_dir: Inside = Field(
        default="data",
        description="Folder of files that the model reads. A link in it becomes a copy of what it leads to; an empty "
        "folder is left out.",
        examples=["weights"],
    )
    external_data: Annotated[tuple[ExternalData, ...], Field(strict=False)] = Field(
        default=(),
        description="Files that `truss push` downloads into `data_dir`.",
        examples=[[{"url": "https://example.org/vocabulary.txt", "local_data_path": "vocabulary.txt"}]],
    )
    external_package_dirs: Folders = Field(
        default=(),
        description="Folders outside the package, by their paths from it: each release has what is in them in its "
        "`bundled_packages_dir`.",
        examples=[["../shared"]],
    )
    bundled_packages_dir: Inside = Field(
        default="packages", description="Folder of Python code that the model imports.", examples=["lib"]
    )
    model_module_dir: Inside = Field(
        default="model", description="Folder of the model's class.", examples=["src"]
    )
    model_class_filename: PythonFile = Field(
        default="model.py", description="File of the model's class.", examples=["falcon.py"]
    )
    model_class_name: ClassName = Field(
        default="Model", description="Name of the model's class.", examples=["Falcon"]
    )
    base_image: BaseImage = BaseImage()
    docker_server: DockerServer | None = None
    build: Build = Build()
    resources: Resources = Resources()
    runtime: Runtime = Runtime()
    apply_library_patches: Unused = None
    bis_llm: Unused = None
    cache_internal: Unused = None
    examples_filename: Unused = None
    hf_cache: Unused = None
    input_type: Unused = None
    live_reload: Unused = None
    model_cache: Unused = None
    model_framework: Unused = None
    model_type: Unused = None
    spec_version: Unused = None
    train: Unused = None
    training_checkpoints: Unused = None
    trt_llm: Unused = None
    use_local_src: Unused = None
    weights: Unused = None

    def unused(self) -> list[str]:
        """Return the keys that have no effect here; see `Section.unused`."""
        names, given = super().unused(), {ENVIRONMENT_VARIABLE}
        if self.docker_server is not None:
            names += [f"runtime.{name}" for name in sorted(OF_A_MODEL & self.runtime.model_fields_set)]
            given.add("PORT")
        names += [f"secrets.{name}" for name in sorted({*self.secrets} - {*self.model_secrets})]
        return names + [
            f"environment_variables.{name}" for name in sorted(given & {*self.environment_variables})
        ]

    def listed_unused(self) -> str:
        """Return the keys that have no effect here as a list with a full stop, empty where there are none."""
        names = self.unused()
        logins = any(name.startswith((f"secrets.{LOGIN}", "base_image.docker_auth")) for name in names)
        listed = f"{', '.join(names)}." if names else ""
        return f"{listed} Registries know you by `docker login`." if logins else listed

    @property
    def model_secrets(self) -> dict[str, str | None]:
        """The secrets that the model may ask for: `secrets` without the logins of registries."""
        return {name: default for name, default in self.secrets.items() if not name.startswith(LOGIN)}

    @property
    def model_file(self) -> PurePosixPath:
        """Where the model's class is, relative to the package."""
        return PurePosixPath(self.model_module_dir) / self.model_class_filename

    @property
    def asked_python(self) -> str | None:
        """The `python_version` that the author wrote, None where the file is silent."""
        return self.python_version if "python_version" in self.model_fields_set else None

    def model_slug(self, package: Path) -> str:
        """Return the model's name as targets and routes use it: `model_name` or else the folder's, as a slug.

        Raises:
            PackageError: Nothing of the folder's name is left in a slug.
        """
        folder = package.resolve().name
        name = slug(self.model_name or folder)
        if not name:
            raise PackageError(
                f"The folder's name {folder!r} gives no name for the model.",
                hint=f"Write `model_name: my-model` into {CONFIG}.",
            )
        return name

    def filled(self) -> dict[str, Any]:
        """Return the configuration as plain data with every default filled in, as the server gets it."""
        data = self.model_dump(mode="json") | {"secrets": self.model_secrets}
        if self.runtime.predict_concurrency is None:
            data["runtime"]["predict_concurrency"] = DEFAULT_CONCURRENCY
        if self.docker_server is None:
            del data["docker_server"]
        return data


def load_config(package: Path) -> TrussConfig:
    """Read the `config.yaml` of a package.

    Raises:
        PackageError: With every problem of the file, each at its line and column.
    """
    source = read_source(package)
    found = understand(source)
    if not isinstance(found, TrussConfig):
        raise source.refusal(found)
    return found


def read_source(package: Path) -> YamlSource:
    """Read the `config.yaml` of a package as YAML.

    Raises:
        PackageError: There is none, or it is no YAML.
    """
    return read_yaml(package / CONFIG, verbatim=_is_verbatim)


def understand(source: YamlSource) -> TrussConfig | list[Problem]:
    """Return the configuration that a file says, or all that is wrong with it."""
    problems = [*source.problems]
    for location, problem, advice in broken_rules(source.data):
        problems.append(located(source, location, f"{dotted(location)}: {problem}", advice))
    try:
        config = TrussConfig.model_validate(source.data)
    except ValidationError as exc:
        return [*problems, *explain(source, exc.errors(include_url=False), TrussConfig)]
    return problems or config


def _is_verbatim(location: Location) -> bool:
    """`3.10` is a version, `0777` the value of a variable: neither is the number YAML reads."""
    return location == ("python_version",) or location[:1] in {("environment_variables",), ("secrets",)}
