"""What a single value of config.yaml must be."""

from __future__ import annotations

import keyword
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from truss import config_shapes as shapes
from truss.config_shapes import problem
from truss.names import slug
from truss.requirements import objection, refusals, without_comment

CONFIG = "config.yaml"

EDGE_PORT = 8080
"""Where the server listens inside its container."""

PLATFORM_USER = 60000
"""No server runs as this one there, and so none does here."""

NEEDED_FOLDERS = (
    *("/bin", "/sbin", "/lib", "/lib64", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/local/bin"),
    *("/dev", "/proc", "/sys", "/opt/model", "/opt/truss"),
)
"""Of an image: no secret is mounted upon what is in them."""

ACCELERATORS = (
    *("T4", "L4", "A10G", "V100", "A100", "A100_40GB", "H100", "H200", "H100_40GB"),
    *("B200", "L40S", "RTX_PRO_6000", "B300", "GB300"),
)
"""Types of GPUs that Truss's own platform has. Others are fine: it is a hint for the GPU of this machine."""

Minor = Literal["py39", "py310", "py311", "py312", "py313", "py314"]


def one_line(value: str) -> str:
    """Return a line without the space around it.

    Raises:
        PydanticCustomError: It is none, or more.
    """
    line = value.strip()  # what YAML folds, after `>`, ends with a newline
    if not line:
        raise shapes.FILLED.error(value)
    if (odd := next((sign for sign in line if not sign.isprintable()), None)) is not None:
        found = {"\t": "a tab", "\n": "a line break"}.get(odd, f"the character {odd!r}")
        raise problem("must be one line of printable characters", f"Take out {found}.")
    return line


def _system_package(value: str) -> str:
    line = one_line(value)
    for word in line.split():
        shapes.DEBIAN_PACKAGE.check(word)
    return line


def _plain_path(value: str) -> str:
    """Return a path without what says nothing."""
    return str(PurePosixPath(value))


def _python_version(value: object) -> str:
    match = re.fullmatch(shapes.VERSION, str(value).strip())
    version = f"py3{match[1]}" if match else ""
    if version not in get_args(Minor):
        near = re.match(r"\D*3\.?(\d{1,2})(\.|$)", str(value).strip())
        meant = f"py3{near[1]}" if near and f"py3{near[1]}" in get_args(Minor) else "py311"
        raise problem(
            f"`{value}` is no version of Python for models", f"Take one of 3.9 to 3.14, such as {meant}."
        )
    return version


def _text_of(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    return value


def _set_ones(value: object) -> object:
    """Leave out what has no value: it is not set."""
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def unquoted(value: object) -> object:
    """Return the number or truth value that stands in quotes, as Truss reads it, or the value as it is."""
    text = value.strip().lower() if isinstance(value, str) else ""
    if text in {"true", "false"}:
        return text == "true"
    if re.fullmatch(shapes.NUMBER, text):
        value = float(text) if "." in text else int(text)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _printable(shape: shapes.Shape) -> AfterValidator:
    """Return what refuses a name with characters that nobody sees: no pattern of JavaScript's knows them all."""

    def check(name: str) -> str:
        if not name.isprintable():
            raise shape.error(name)
        return name

    return AfterValidator(check)


def _of_some_kind(value: str) -> str:
    kind = value.partition(":")[0]
    if kind.upper() in {"NONE", "CPU"}:
        raise problem(f"`{kind}` is no accelerator", "Leave `accelerator` out where there is none.")
    return value


def _as_written_there(value: str) -> str:
    """Return an accelerator with the name that it has on Truss's own platform, where it has one."""
    kind, _, count = value.partition(":")
    known = kind.upper() if kind.upper() in ACCELERATORS else kind
    return f"{known}:{count}" if count else known


def _class_name(value: str) -> str:
    if not value.isidentifier() or keyword.iskeyword(value):
        raise shapes.CLASS_NAME.error(value)
    return value


def _requirement(value: str) -> str:
    line = without_comment(value)
    if not line:
        raise shapes.REQUIREMENT.error(value)
    if (wrong := objection(line)) is not None:
        raise problem(wrong)
    return line


def _model_name(value: str) -> str:
    if not slug(value):
        raise shapes.MODEL_NAME.error(value)
    return value


def _no_root(value: object) -> object:
    if value == 0 and not isinstance(value, bool):
        raise problem("0 is root, as which no server runs", "Take the id of another user of your image.")
    return value


def _user_id(value: int) -> int:
    if value == PLATFORM_USER:
        raise problem(f"{value} is a user of Truss's own platform", "Take the id of a user of your image.")
    return value


# What editors are told, where the shape of a text is not all of it.
_IN_FRONT = f"{EDGE_PORT} is the port in front of your server: take another one, such as 8000."
_NOT_OURS = f"{PLATFORM_USER} is a user of Truss's own platform: take the id of a user of your image."
_REFUSALS = shapes.Rules([shapes.without(sign, words) for sign, words in refusals()])
_VERSIONS = shapes.taking(**shapes.versions(get_args(Minor)))
_SCALAR = shapes.taking(type=["string", "number", "boolean"])
_AMOUNT = shapes.taking(type=["string", "number"], exclusiveMinimum=0)

Line = Annotated[str, AfterValidator(one_line), shapes.LINE]
Port = Annotated[int, Field(ge=1, le=65535), shapes.never(EDGE_PORT, _IN_FRONT)]
ImageName = Annotated[str, AfterValidator(one_line), shapes.IMAGE]
UserId = Annotated[
    int,
    Field(ge=1, lt=2**31),
    BeforeValidator(_no_root),
    AfterValidator(_user_id),
    shapes.never(PLATFORM_USER, _NOT_OURS),
]
Route = Annotated[str, shapes.ROUTE]
# Not strict: strict pydantic takes no list for a tuple.
SystemPackage = Annotated[str, AfterValidator(_system_package), shapes.DEBIAN_PACKAGES]
SystemPackages = Annotated[tuple[SystemPackage, ...], Field(strict=False)]
Requirement = Annotated[Line, AfterValidator(_requirement), shapes.REQUIREMENT, _REFUSALS]
Requirements = Annotated[tuple[Requirement, ...], Field(strict=False)]
Inside = Annotated[
    str,
    AfterValidator(one_line),
    shapes.RELATIVE,
    shapes.WITHIN,
    shapes.UNTAKEN,
    AfterValidator(_plain_path),
]
Folder = Annotated[str, AfterValidator(one_line), shapes.BESIDE, AfterValidator(_plain_path)]
Folders = Annotated[tuple[Folder, ...], Field(strict=False)]
Url = Annotated[str, shapes.URL]
Program = Annotated[str, shapes.PROGRAM]
Mounted = Annotated[str, shapes.MOUNTED, shapes.outside(NEEDED_FOLDERS)]
Sha256 = Annotated[str, shapes.SHA256, AfterValidator(str.lower)]
PythonFile = Annotated[Inside, shapes.PYTHON_FILE]
PythonVersion = Annotated[Minor, BeforeValidator(_python_version, json_schema_input_type=_VERSIONS)]
ModelName = Annotated[str, AfterValidator(_model_name), shapes.MODEL_NAME]
ClassName = Annotated[str, AfterValidator(_class_name), shapes.CLASS_NAME]
VariableName = Annotated[str, _printable(shapes.VARIABLE), shapes.VARIABLE]
VariableValue = Annotated[str, BeforeValidator(_text_of, json_schema_input_type=_SCALAR), shapes.VALUE]
Variables = Annotated[
    dict[VariableName, VariableValue],
    BeforeValidator(_set_ones, json_schema_input_type=dict[VariableName, VariableValue | None]),
]
Cpu = Annotated[str, BeforeValidator(_text_of, json_schema_input_type=_AMOUNT), shapes.CPU]
Memory = Annotated[str, BeforeValidator(_text_of, json_schema_input_type=_AMOUNT), shapes.MEMORY]
Accelerator = Annotated[
    str, AfterValidator(_of_some_kind), shapes.ACCELERATOR, AfterValidator(_as_written_there)
]
SecretName = Annotated[str, shapes.SECRET]
SecretOrLogin = Annotated[str, _printable(shapes.SECRET_OR_LOGIN), shapes.SECRET_OR_LOGIN]

EMPTY = "empty"
"""Marks a key for which `""` is no value, as Truss's own files have it: it is as if the key were not there."""

UNUSED = "unused"
"""Marks a key that Truss knows and no target here has a use for: a package with it loads, and is told so."""

Unused = Annotated[Any, UNUSED, Field(description="Known to Truss; not used here.")]
