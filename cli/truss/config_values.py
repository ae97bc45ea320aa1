"""What a single value of config.yaml must be."""

from __future__ import annotations

import keyword
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from truss.names import is_image_name, is_secret_name, slug
from truss.requirements import objection, without_comment
from truss_server.protocol import MANIFEST

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

LOGIN = "DOCKER_REGISTRY_"
"""How the name of a secret begins that is the login of a registry on Truss's own platform."""

_NUMBER = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?", re.ASCII)
"""One that Python can read: more digits would be infinite, or an error."""

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
        if not re.fullmatch(r"[A-Za-z0-9]([\w.+:=/~*-]*[\w.+~*])?", word, re.ASCII):
            advice = "Names stand alone or with spaces between, without options."
            raise problem(f"`{word}` is no name of a Debian package", advice)
    return line


def _inside(value: str) -> str:
    path = PurePosixPath(one_line(value))
    advice = f"Write a path like `model`, relative to the folder of {CONFIG}."
    if path.is_absolute() or value.startswith("~") or "\\" in value:
        raise problem("must be relative, with `/` between folders", advice)
    if ".." in path.parts or not path.parts:
        raise problem("must lie inside the package, in a place of its own", advice)
    if path.parts[0] in {MANIFEST, CONFIG}:
        raise problem(f"`{path.parts[0]}` has a meaning of its own", advice)
    return str(path)


def _python_version(value: object) -> str:
    match = re.fullmatch(r"(?:py)?3\.?(\d{1,2})", str(value).strip())
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
    if _NUMBER.fullmatch(text):
        value = float(text) if "." in text else int(text)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _variable_name(name: str) -> str:
    if not re.fullmatch(r"[^\s=]+", name) or not name.isprintable():
        raise problem("is no name of a variable", "Take letters, digits and `_`.")
    return name


def _secret_or_login(name: str) -> str:
    return name if name.startswith(LOGIN) and name.isprintable() else _secret_name(name)


def _secret_name(name: str) -> str:
    if not is_secret_name(name):
        raise problem("is no name of a secret", "Take letters, digits, `_`, `-` and `.`, not first.")
    return name


def _variable_value(value: str) -> str:
    if "\0" in value:
        raise problem("must not hold a null character", "Take it out.")
    return value


def _cpu(value: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?|\d+m", value, re.ASCII) or not re.search("[1-9]", value):
        raise problem(f"`{value}` is no number of cores", "Write `4`, `0.5` or `500m`.")
    return value


def _memory(value: str) -> str:
    amount = re.fullmatch(r"\d+(\.\d+)?([kMGTPE]|[KMGTPE]i)?", value, re.ASCII)
    if not amount or not re.search("[1-9]", value):
        advice = "Write a number and a unit: `16Gi`, `512Mi`. Without a unit it is bytes."
        raise problem(f"`{value}` is no amount of memory", advice)
    return value


def _accelerator(value: str) -> str:
    kind, _, count = value.partition(":")
    if kind.upper() in {"NONE", "CPU"}:
        raise problem(f"`{kind}` is no accelerator", "Leave `accelerator` out where there is none.")
    if not re.fullmatch(r"\w+(:[1-9]\d*)?", value, re.ASCII):
        raise problem(f"`{value}` is no accelerator", "Write its type, and how many: `L4`, `A100:2`.")
    known = kind.upper() if kind.upper() in ACCELERATORS else kind
    return f"{known}:{count}" if count else known


def _class_name(value: str) -> str:
    if not value.isidentifier() or keyword.iskeyword(value):
        raise problem(f"`{value}` is no name of a class", "Write what follows `class` in the file.")
    return value


def _python_file(value: str) -> str:
    if not value.endswith(".py"):
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
    path = PurePosixPath(one_line(value))
    if path.is_absolute() or value.startswith("~") or "\\" in value:
        advice = "Write a path like `../shared`, relative to the package."
        raise problem("must be relative, with `/` between folders", advice)
    return str(path)


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+\S*", value):
        raise problem(f"`{value}` is no URL", "Write one that begins with https:// or http://.")
    return value


def _program(value: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._+-]+)+", value) or ".." in value.split("/"):
        raise problem(
            f"`{value}` is no absolute path of a program", "Write one like `/usr/local/bin/python3`."
        )
    return value


def _mounted(value: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._+@-]+)+", value) or {".", ".."} & set(value.split("/")):
        raise problem(
            f"`{value}` is no absolute path of a file",
            "Write one like `/root/.netrc`, without spaces or commas.",
        )
    if any(value.startswith(f"{folder}/") for folder in NEEDED_FOLDERS):
        raise problem(
            f"`{value}` would hide what the commands need", "Take a place such as `/root/my_token`."
        )
    return value


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise problem(f"`{value}` is no SHA-256", "Write the 64 digits that `sha256sum FILE` prints.")
    return value.lower()


def _image(value: str) -> str:
    name = one_line(value)
    tagged, at, digest = name.partition("@")
    if not is_image_name(tagged) or (at and not re.fullmatch(r"\w+:[0-9a-f]{32,}", digest, re.ASCII)):
        advice = "Write one like `python:3.12-slim`, or with its registry: `ghcr.io/ours/base:1`."
        raise problem(f"`{name}` is no name of an image", advice)
    return name


def _route(value: str) -> str:
    if not re.fullmatch(r"/[!-~]*", value):
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


Line = Annotated[str, AfterValidator(one_line)]
Port = Annotated[int, Field(ge=1, le=65535)]
ImageName = Annotated[str, AfterValidator(_image)]
UserId = Annotated[int, BeforeValidator(_no_root), Field(ge=1, lt=2**31), AfterValidator(_user_id)]
Route = Annotated[str, AfterValidator(_route)]
# Not strict: strict pydantic takes no list for a tuple.
SystemPackages = Annotated[tuple[Annotated[str, AfterValidator(_system_package)], ...], Field(strict=False)]
Requirements = Annotated[tuple[Annotated[Line, AfterValidator(_requirement)], ...], Field(strict=False)]
Inside = Annotated[str, AfterValidator(_inside)]
Folders = Annotated[tuple[Annotated[str, AfterValidator(_outside)], ...], Field(strict=False)]
Url = Annotated[str, AfterValidator(_url)]
Program = Annotated[str, AfterValidator(_program)]
Mounted = Annotated[str, AfterValidator(_mounted)]
Sha256 = Annotated[str, AfterValidator(_sha256)]
PythonFile = Annotated[Inside, AfterValidator(_python_file)]
PythonVersion = Annotated[Minor, BeforeValidator(_python_version)]
ModelName = Annotated[str, AfterValidator(_model_name)]
ClassName = Annotated[str, AfterValidator(_class_name)]
VariableName = Annotated[str, AfterValidator(_variable_name)]
VariableValue = Annotated[str, BeforeValidator(_text_of), AfterValidator(_variable_value)]
Cpu = Annotated[str, BeforeValidator(_text_of), AfterValidator(_cpu)]
Variables = Annotated[dict[VariableName, VariableValue], BeforeValidator(_set_ones)]
Memory = Annotated[str, BeforeValidator(_text_of), AfterValidator(_memory)]
Accelerator = Annotated[str, AfterValidator(_accelerator)]
SecretName = Annotated[str, AfterValidator(_secret_name)]
SecretOrLogin = Annotated[str, AfterValidator(_secret_or_login)]

EMPTY = "empty"
"""Marks a key for which `""` is no value, as Truss's own files have it: it is as if the key were not there."""

UNUSED = "unused"
"""Marks a key that Truss knows and no target here has a use for: a package with it loads, and is told so."""

Unused = Annotated[Any, UNUSED, Field(description="Known to Truss; not used here.")]
