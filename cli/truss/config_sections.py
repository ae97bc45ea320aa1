"""The sections of config.yaml: keys that belong together."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from truss.config_commands import Command  # noqa: TC001 pydantic reads annotations
from truss.config_shapes import problem
from truss.config_values import (
    EDGE_PORT,
    EMPTY,
    UNUSED,
    Accelerator,
    Cpu,
    ImageName,
    Inside,
    Line,
    Memory,
    Mounted,
    Port,
    Program,
    Route,
    SecretName,
    Sha256,
    Unused,
    Url,
    UserId,
    unquoted,
)


class Section(BaseModel):
    """Keys that belong together. One without a value is as if it were not there; numbers may stand in quotes."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
    )

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        empty = cls._marked(EMPTY)
        return {
            key: unquoted(value) if key in cls._plain_keys() else value
            for key, value in data.items()
            if not (value is None and key in cls.model_fields) and not (value == "" and key in empty)
        }

    @model_serializer(mode="wrap")
    def _without_unused(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the keys out that no target uses and the author did not write: the model is not to meet them."""
        data: dict[str, Any] = serialize(self)
        return {
            key: value for key, value in data.items() if value is not None or key not in self.unused_keys()
        }

    @classmethod
    def _plain_keys(cls) -> frozenset[str]:
        """Return the keys whose values are numbers or true or false."""
        fields = cls.model_fields.items()
        return frozenset(name for name, field in fields if _arms(field.annotation) & {int, float, bool})

    @classmethod
    def unused_keys(cls) -> frozenset[str]:
        """Return the keys of this section that Truss knows and no target here uses."""
        return cls._marked(UNUSED)

    @classmethod
    def _marked(cls, mark: str) -> frozenset[str]:
        return frozenset(name for name, field in cls.model_fields.items() if mark in field.metadata)

    def unused(self) -> list[str]:
        """Return the keys that ask for something that no target here does, as they are written with dots."""
        names = []
        for name in sorted(self.model_fields_set):
            value = getattr(self, name)
            if isinstance(value, Section):
                names += [f"{name}.{inner}" for inner in value.unused()]
            elif name in self.unused_keys() and _asks(value):
                names.append(name)
        return names


def _asks(value: Any) -> bool:
    """Return whether a value asks for something: one that is off or empty, all through, does not."""
    return any(map(_asks, value.values())) if isinstance(value, dict) else bool(value)


def section_of(annotation: Any, *, in_lists: bool = False) -> type[Section] | None:
    """Return the section that a field holds, always or where it is written; None for one that holds a value.

    Args:
        annotation: Of the field.
        in_lists: Whether a list of sections counts, too.
    """
    if get_origin(annotation) is tuple and not in_lists:
        return None
    arms = _arms(annotation)
    return next((arm for arm in arms if isinstance(arm, type) and issubclass(arm, Section)), None)


def _arms(annotation: Any) -> set[Any]:
    """Return what a value may be."""
    arms = get_args(annotation) or (annotation,)
    return {get_args(arm)[0] if get_origin(arm) is Annotated else arm for arm in arms}


class BaseImage(Section):
    """The image that the model's image is made from."""

    image: Annotated[ImageName | None, EMPTY] = Field(
        default=None,
        description="Image to start from: Debian-like, with python3 and python3-venv; its Python is the model's, "
        "whatever `python_version` says. A private one needs `docker login`. "
        "Without it, `python:3.X-slim` of `python_version`.",
        examples=["python:3.12-slim"],
    )
    python_executable_path: Annotated[Program | None, EMPTY] = Field(
        default=None,
        description="The model's Python in that image, 3.9 to 3.14. Without it, the first `python3` on its PATH.",
        examples=["/usr/local/bin/python3.12"],
    )
    docker_auth: Unused = None


class Build(Section):
    """What building the image may use."""

    secret_to_path_mapping: dict[SecretName, Mounted] = Field(
        default={},
        description="Secrets that `build_commands` may read: a name, as in `truss secrets set NAME`, and the path "
        "of the file that holds it while they run. It is in no layer of the image.",
        examples=[{"git_token": "/root/git_token"}],
    )
    arguments: Unused = None
    model_server: Unused = None
    no_cache: Unused = None

    @field_validator("secret_to_path_mapping")
    @classmethod
    def _one_path_each(cls, value: dict[str, str]) -> dict[str, str]:
        if len(set(value.values())) < len(value):
            raise problem("gives two secrets the same path", "Each needs a file of its own.")
        paths = [PurePosixPath(path) for path in value.values()]
        if inner := next((path for path in paths if not {*path.parents}.isdisjoint(paths)), None):
            raise problem(f"puts `{inner}` below the file of another secret", "A file has nothing below it.")
        return value


class ExternalData(Section):
    """A file that is downloaded into the data folder."""

    url: Url = Field(
        description="Where the file is. Each push asks whether it has changed there, unless `sha256` says what it is.",
        examples=["https://example.org/vocabulary.txt"],
    )
    local_data_path: Inside = Field(
        description="Its path below `data_dir`.", examples=["tokenizer/vocabulary.txt"]
    )
    backend: Literal["http_public"] = Field(
        default="http_public",
        description="Truss's word for a URL that needs no login; there is no other.",
        examples=["http_public"],
    )
    name: Line | None = Field(default=None, description="For people.", examples=["vocabulary"])
    sha256: Sha256 | None = Field(
        default=None,
        description="What `sha256sum` prints of it. A download that is something else ends the push.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    )


class DockerServer(Section):
    """A server of your own in place of the model's class, on both targets; docs/custom-server.md tells all of it."""

    no_build: bool = Field(
        default=False,
        description="Whether `base_image.image` holds the whole server, so that nothing is installed for it. Without "
        "a `start_command`, the image's own command starts it.",
        examples=[True],
    )
    start_command: Command | None = Field(
        default=None,
        description="Starts your server in the foreground, without a shell, in the folder where `model/` and `data/` "
        "are. `$PORT` in it, and the variable PORT, say where to listen. Required without `no_build`.",
        examples=["python model/server.py --port $PORT"],
    )
    server_port: Port = Field(
        default=8000,
        description="Where your server listens: the value of PORT. Where it is taken, `local` gives PORT another one. "
        "8080 is the port in front of it.",
        examples=[8001],
    )
    predict_endpoint: Route = Field(
        default="/predict",
        description="Route of your server that `/predict` leads to; all its routes can be called as they are, too.",
        examples=["/v1/chat/completions"],
    )
    readiness_endpoint: Route = Field(
        description="Route of your server that answers 2xx once it can be called.", examples=["/health"]
    )
    liveness_endpoint: Route | None = Field(
        default=None,
        description="Route of your server that answers 2xx while it lives; without it, `readiness_endpoint`.",
        examples=["/alive"],
    )
    run_as_user_id: UserId | None = Field(
        default=None,
        description="Id of a user of `base_image` that the container runs as; without it 10001, which is nobody's. "
        "`local` runs everything as you.",
        examples=[1000],
    )

    @field_validator("server_port")
    @classmethod
    def _beside_the_one_in_front(cls, value: int, info: ValidationInfo) -> int:
        text = f"{EDGE_PORT} is the port in front of your server, in the same container"
        if value == EDGE_PORT and info.data.get("no_build"):
            advice = (
                "Take another one, such as 8000: the image's own command finds it in the variable PORT, "
                "or a `start_command` names it."
            )
            raise problem(f"{text}, with `no_build`, too", advice)
        if value == EDGE_PORT:
            raise problem(text, "Take another one, such as 8000, and have the command listen there.")
        return value


class Resources(Section):
    """What the model wants of the machine: GPUs reach its container, the rest are hints."""

    cpu: Cpu = Field(
        default="1",
        description="Cores that the model needs, `500m` being half of one; nothing is limited to them here.",
        examples=["500m"],
    )
    memory: Memory = Field(
        default="2Gi",
        description="Memory that the model needs; nothing is limited to it here.",
        examples=["16Gi"],
    )
    use_gpu: bool = Field(
        default=False,
        description="Whether the model needs a GPU; `accelerator` says so, too.",
        examples=[True],
    )
    accelerator: Annotated[Accelerator | None, EMPTY] = Field(
        default=None,
        description="Type of the GPU and, after `:`, how many: a container gets that many of this machine's, of "
        "whatever type.",
        examples=["A100:2"],
    )
    instance_type: Unused = None
    node_count: Unused = None
    fabric: Unused = None
