"""config.yaml as models: the schema users meet."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from truss.config_problems import explain
from truss.config_values import (
    CONFIG,
    Accelerator,
    ClassName,
    Cpu,
    Inside,
    Line,
    Lines,
    Memory,
    ModelName,
    PythonFile,
    PythonVersion,
    Requirements,
    VariableName,
    VariableValue,
    problem,
)
from truss.errors import PackageError
from truss.names import slug
from truss.yaml_source import read_yaml
from truss_server.protocol import DEFAULT_CONCURRENCY

if TYPE_CHECKING:
    from truss.yaml_source import Location

DAY = 24 * 60 * 60.0


class Section(BaseModel):
    """Keys that belong together. A key without a value is as if it were not there.

    Attributes:
        later: Keys Truss knows and this version does not support.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
    )
    later: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        return {
            key: value
            for key, value in data.items()
            if not (value is None and key in cls.model_fields) and (value or key not in cls.later)
        }


class BaseImage(Section):
    """The image that the model's image is made from."""

    later = frozenset({"python_executable_path", "docker_auth"})

    image: Line | None = None


class Resources(Section):
    """What the model wants of the machine: hints, which a target may be unable to follow."""

    later = frozenset({"instance_type", "node_count", "fabric"})

    cpu: Cpu = "1"
    memory: Memory = "2Gi"
    use_gpu: bool = False
    accelerator: Accelerator | None = None


class Runtime(Section):
    """How the server treats calls of the model. Times are in seconds."""

    later = frozenset(
        {
            "egress_restrictions",
            "enable_debug_logs",
            "enable_tracing_data",
            "health_checks",
            "is_websocket_endpoint",
            "num_workers",
            "oidc",
            "remote_ssh",
            "transport",
            "truss_server_version_override",
        }
    )

    predict_concurrency: int | None = Field(default=None, ge=1, le=100_000)
    streaming_read_timeout: float = Field(default=60.0, gt=0, le=DAY)
    drain_timeout: float = Field(default=30.0, ge=0, le=DAY)
    request_timeout: float = Field(default=3600.0, gt=0, le=DAY)
    max_queue: int = Field(default=1024, ge=0, le=1_000_000)
    max_body_bytes: int = Field(default=256 * 1024 * 1024, ge=1, le=16 * 1024**3)


class TrussConfig(Section):
    """A package's `config.yaml`."""

    later = frozenset(
        {
            "apply_library_patches",
            "bis_llm",
            "build",
            "build_commands",
            "cache_internal",
            "docker_server",
            "examples_filename",
            "external_data",
            "external_package_dirs",
            "hf_cache",
            "input_type",
            "live_reload",
            "model_cache",
            "model_framework",
            "model_type",
            "secrets",
            "spec_version",
            "training_checkpoints",
            "trt_llm",
            "use_local_src",
            "weights",
        }
    )

    model_name: ModelName | None = None
    description: str | None = None
    model_metadata: dict[str, Any] = {}
    python_version: PythonVersion = "py311"
    requirements: Requirements = ()
    requirements_file: Inside | None = None
    system_packages: Lines = ()
    environment_variables: dict[VariableName, VariableValue] = {}
    data_dir: Inside = "data"
    bundled_packages_dir: Inside = "packages"
    model_module_dir: Inside = "model"
    model_class_filename: PythonFile = "model.py"
    model_class_name: ClassName = "Model"
    base_image: BaseImage = BaseImage()
    resources: Resources = Resources()
    runtime: Runtime = Runtime()

    @field_validator("requirements_file")
    @classmethod
    def _pip_file_alone(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and PurePosixPath(value).name in {"pyproject.toml", "uv.lock"}:
            raise problem(
                f"`{value}` is known to Truss, but not supported by this version",
                "Name a pip requirements file, or list `requirements`.",
            )
        if value is not None and info.data.get("requirements"):
            raise problem("there is `requirements` too", "Keep one of the two.")
        return value

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
        data = self.model_dump(mode="json")
        if self.runtime.predict_concurrency is None:
            data["runtime"]["predict_concurrency"] = DEFAULT_CONCURRENCY
        return data


def load_config(package: Path) -> TrussConfig:
    """Read the `config.yaml` of a package.

    Raises:
        PackageError: With every problem of the file, each at its line and column.
    """
    source = read_yaml(package / CONFIG, verbatim=_is_verbatim)
    try:
        return TrussConfig.model_validate(source.data)
    except ValidationError as exc:
        raise explain(source, exc.errors(include_url=False), TrussConfig) from exc


def _is_verbatim(location: Location) -> bool:
    """`3.10` is a version, `0777` the value of a variable: neither is the number YAML reads."""
    return location == ("python_version",) or location[:1] == ("environment_variables",)
