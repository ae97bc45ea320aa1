"""What a single value of config.yaml must be."""

from __future__ import annotations

import keyword
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from truss import config_shapes as shapes
from truss.names import is_secret_name, slug
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

LOGIN = shapes.LOGIN
"""How the name of a secret begins that is the login of a registry on Truss's own platform."""

Minor = Literal["py39", "py310", "py311", "py312", "py313", "py314"]


def problem(text: str, advice: str = "") -> PydanticCustomError:
    """Return the error of a value: what is wrong with it, and what to do."""
    return PydanticCustomError("truss", "{problem}", {"problem": text, "advice": advice})


def one_line(value: str) -> str:
    """Return a line without the space around it.

    Raises:
        PydanticCustomError: It is none, or more.
    """
    line = value.strip()  # what YAML folds, after `>`, ends with a newline
    if not line:
        raise problem("must not be empty", "Write something, or leave it out.")
    if (odd := next((sign for sign in line if not sign.isprintable()), None)) is not None:
        found = {"\t": "a tab", "\n": "a line break"}.get(odd, f"the character {odd!r}")
        raise problem("must be one line of printable characters", f"Take out {found}.")
    return line


def _system_package(value: str) -> str:
    line = one_line(value)
    for word in line.split():
        if not re.fullmatch(shapes.DEBIAN_PACKAGE, word):
            advice = "Names stand alone or with spaces between, without options."
            raise problem(f"`{word}` is no name of a Debian package", advice)
    return line


def _inside(value: str) -> str:
    line = one_line(value)
    path = PurePosixPath(line)
    advice = f"Write a path like `model`, relative to the folder of {CONFIG}."
    if not shapes.RELATIVE.fits(line):
        raise problem("must be relative, with `/` between folders", advice)
    if not shapes.WITHIN.fits(line):
        raise problem("must lie inside the package, in a place of its own", advice)
    if not shapes.UNTAKEN.fits(line):
        raise problem(f"`{path.parts[0]}` has a meaning of its own", advice)
    return str(path)


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


def _variable_name(name: str) -> str:
    if not shapes.VARIABLE.fits(name) or not name.isprintable():
        raise problem("is no name of a variable", "Take letters, digits and `_`.")
    return name


def _secret_or_login(name: str) -> str:
    return name if name.startswith(LOGIN) and name.isprintable() else _secret_name(name)


def _secret_name(name: str) -> str:
    if not is_secret_name(name):
        raise problem("is no name of a secret", "Take letters, digits, `_`, `-` and `.`, not first.")
    return name


def _variable_value(value: str) -> str:
    if not shapes.VALUE.fits(value):
        raise problem("must not hold a null character", "Take it out.")
    return value


def _cpu(value: str) -> str:
    if not shapes.CPU.fits(value):
        raise problem(f"`{value}` is no number of cores", "Write `4`, `0.5` or `500m`.")
    return value


def _memory(value: str) -> str:
    if not shapes.MEMORY.fits(value):
        advice = "Write a number and a unit: `16Gi`, `512Mi`. Without a unit it is bytes."
        raise problem(f"`{value}` is no amount of memory", advice)
    return value


def _accelerator(value: str) -> str:
    kind, _, count = value.partition(":")
    if kind.upper() in {"NONE", "CPU"}:
        raise problem(f"`{kind}` is no accelerator", "Leave `accelerator` out where there is none.")
    if not shapes.ACCELERATOR.fits(value):
        raise problem(f"`{value}` is no accelerator", "Write its type, and how many: `L4`, `A100:2`.")
    known = kind.upper() if kind.upper() in ACCELERATORS else kind
    return f"{known}:{count}" if count else known


def _class_name(value: str) -> str:
    if not value.isidentifier() or keyword.iskeyword(value):
        raise problem(f"`{value}` is no name of a class", "Write what follows `class` in the file.")
    return value


def _python_file(value: str) -> str:
    if not shapes.PYTHON_FILE.fits(value):
        raise problem("must be a Python file", "Write a name like `model.py`.")
    return value


def _requirement(value: str) -> str:
    line = without_comment(value)
    if not line:
        raise problem("must not be empty", "Write something, or leave it out.")
    if (wrong := objection(line)) is not None:
        raise problem(wrong)
    return line


def _model_name(value: str) -> str:
    if not slug(value):
        raise problem("needs a letter from a to z or a digit", "URLs and images are named after it.")
    return value


def _outside(value: str) -> str:
    line = one_line(value)
    if not shapes.RELATIVE.fits(line):
        advice = "Write a path like `../shared`, relative to the package."
        raise problem("must be relative, with `/` between folders", advice)
    return str(PurePosixPath(line))


def _url(value: str) -> str:
    if not shapes.URL.fits(value):
        raise problem(f"`{value}` is no URL", "Write one that begins with https:// or http://.")
    return value


def _program(value: str) -> str:
    if not shapes.PROGRAM.fits(value):
        raise problem(
            f"`{value}` is no absolute path of a program", "Write one like `/usr/local/bin/python3`."
        )
    return value


def _mounted(value: str) -> str:
    if not shapes.MOUNTED.fits(value):
        raise problem(
            f"`{value}` is no absolute path of a file",
            "Write one like `/root/.netrc`, without spaces or commas.",
        )
    if not _UNHIDDEN.fits(value):
        raise problem(
            f"`{value}` would hide what the commands need", "Take a place such as `/root/my_token`."
        )
    return value


def _sha256(value: str) -> str:
    if not shapes.SHA256.fits(value):
        raise problem(f"`{value}` is no SHA-256", "Write the 64 digits that `sha256sum FILE` prints.")
    return value.lower()


def _image(value: str) -> str:
    name = one_line(value)
    if not shapes.IMAGE.fits(name):
        advice = "Write one like `python:3.12-slim`, or with its registry: `ghcr.io/ours/base:1`."
        raise problem(f"`{name}` is no name of an image", advice)
    return name


def _route(value: str) -> str:
    if not shapes.ROUTE.fits(value):
        raise problem(f"`{value}` is no route", "Write the path of a URL, such as `/health`.")
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
_UNHIDDEN = shapes.beside(NEEDED_FOLDERS)
_IN_FRONT = f"{EDGE_PORT} is the port in front of your server: take another one, such as 8000."
_NOT_OURS = f"{PLATFORM_USER} is a user of Truss's own platform: take the id of a user of your image."
_REFUSALS = shapes.Rules([shapes.without(sign, words) for sign, words in refusals()])
_VERSIONS = shapes.taking(**shapes.versions(get_args(Minor)))
_SCALAR = shapes.taking(type=["string", "number", "boolean"])
_AMOUNT = shapes.taking(type=["string", "number"], exclusiveMinimum=0)

Line = Annotated[str, AfterValidator(one_line), shapes.LINE]
Port = Annotated[int, Field(ge=1, le=65535), shapes.never(EDGE_PORT, _IN_FRONT)]
ImageName = Annotated[str, AfterValidator(_image), shapes.IMAGE]
UserId = Annotated[
    int,
    Field(ge=1, lt=2**31),
    BeforeValidator(_no_root),
    AfterValidator(_user_id),
    shapes.never(PLATFORM_USER, _NOT_OURS),
]
Route = Annotated[str, AfterValidator(_route), shapes.ROUTE]
# Not strict: strict pydantic takes no list for a tuple.
SystemPackage = Annotated[str, AfterValidator(_system_package), shapes.DEBIAN_PACKAGES]
SystemPackages = Annotated[tuple[SystemPackage, ...], Field(strict=False)]
Requirement = Annotated[Line, AfterValidator(_requirement), shapes.REQUIREMENT, _REFUSALS]
Requirements = Annotated[tuple[Requirement, ...], Field(strict=False)]
Inside = Annotated[str, AfterValidator(_inside), shapes.RELATIVE, shapes.WITHIN, shapes.UNTAKEN]
Folders = Annotated[
    tuple[Annotated[str, AfterValidator(_outside), shapes.RELATIVE], ...], Field(strict=False)
]
Url = Annotated[str, AfterValidator(_url), shapes.URL]
Program = Annotated[str, AfterValidator(_program), shapes.PROGRAM]
Mounted = Annotated[str, AfterValidator(_mounted), shapes.MOUNTED, _UNHIDDEN]
Sha256 = Annotated[str, AfterValidator(_sha256), shapes.SHA256]
PythonFile = Annotated[Inside, AfterValidator(_python_file), shapes.PYTHON_FILE]
PythonVersion = Annotated[Minor, BeforeValidator(_python_version, json_schema_input_type=_VERSIONS)]
ModelName = Annotated[str, AfterValidator(_model_name), shapes.MODEL_NAME]
ClassName = Annotated[str, AfterValidator(_class_name), shapes.CLASS_NAME]
VariableName = Annotated[str, AfterValidator(_variable_name), shapes.VARIABLE]
VariableValue = Annotated[
    str,
    BeforeValidator(_text_of, json_schema_input_type=_SCALAR),
    AfterValidator(_variable_value),
    shapes.VALUE,
]
Cpu = Annotated[
    str, BeforeValidator(_text_of, json_schema_input_type=_AMOUNT), AfterValidator(_cpu), shapes.CPU
]
Variables = Annotated[
    dict[VariableName, VariableValue],
    BeforeValidator(_set_ones, json_schema_input_type=dict[VariableName, VariableValue | None]),
]
Memory = Annotated[
    str, BeforeValidator(_text_of, json_schema_input_type=_AMOUNT), AfterValidator(_memory), shapes.MEMORY
]
Accelerator = Annotated[str, AfterValidator(_accelerator), shapes.ACCELERATOR]
SecretName = Annotated[str, AfterValidator(_secret_name), shapes.SECRET]
SecretOrLogin = Annotated[str, AfterValidator(_secret_or_login), shapes.SECRET_OR_LOGIN]

EMPTY = "empty"
"""Marks a key for which `""` is no value, as Truss's own files have it: it is as if the key were not there."""

UNUSED = "unused"
"""Marks a key that Truss knows and no target here has a use for: a package with it loads, and is told so."""

Unused = Annotated[Any, UNUSED, Field(description="Known to Truss; not used here.")]
