"""What texts of config.yaml look like, said once: the loader goes by it, and editors are told of it.

A pattern keeps to what regular expressions mean in Python and in JavaScript alike, where editors are at home.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema

from truss.names import IMAGE_NAME, LOGIN, SECRET_NAME
from truss_server.protocol import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue


@dataclass(frozen=True, eq=False)  # by identity: what stands in a hint of types has to have a hash
class Rules:
    """What an editor is told of a value beside its type. It stands in the hint of the type.

    Attributes:
        rules: Each in the words of JSON schema.
    """

    rules: Sequence[JsonSchemaValue]

    def __get_pydantic_json_schema__(
        self, core: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return what is known of the value, and the rules."""
        found = handler(core)
        for rule in self.rules:
            if found.keys() & rule.keys():
                found["allOf"] = [*found.get("allOf", []), rule]
            else:
                found |= rule
        return found


def problem(text: str, advice: str = "") -> PydanticCustomError:
    """Return the error of a value: what is wrong with it, and what to do."""
    return PydanticCustomError("truss", "{problem}", {"problem": text, "advice": advice})


@dataclass(frozen=True)
class Shape:
    """What a text is as a whole. In the hint of a type it refuses texts that are not like this.

    Attributes:
        pattern: The regular expression that it matches.
        wrong: What is said of one that does not; the text itself stands in it for `{}`.
        advice: What to do then.
        spaced: Whether space around it does not matter.
    """

    pattern: str
    wrong: str
    advice: str = ""
    spaced: bool = False

    def check(self, text: str) -> str:
        """Return a text that looks like this.

        Raises:
            PydanticCustomError: It does not.
        """
        if re.fullmatch(self.pattern, text.strip() if self.spaced else text) is None:
            raise self.error(text)
        return text

    def error(self, text: str) -> PydanticCustomError:
        """Return the error of a text that does not look like this."""
        return problem(self.wrong.replace("{}", f"`{text}`"), self.advice)

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Return how a value is checked: after what stands in front of this in the hint."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, core: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return what an editor is told of the value."""
        space = r"\s*" if self.spaced else ""
        words = self.wrong.replace("{}", "This") if "{}" in self.wrong else f"This {self.wrong}"
        rule = {
            "pattern": f"^{space}(?:{self.pattern}){space}$",
            "patternErrorMessage": f"{words}. {self.advice}".strip(),
        }
        return Rules([rule]).__get_pydantic_json_schema__(core, handler)


def refused(when: JsonSchemaValue, words: str) -> JsonSchemaValue:
    """Return the rule that no value is like this; of a plain `not`, no editor could say why."""
    return {"if": when, "then": {"type": "null", "errorMessage": words}}


def without(sign: str, words: str) -> JsonSchemaValue:
    """Return the rule that a text does not begin with what matches a regular expression."""
    return {"pattern": rf"^(?!\s*({sign}))", "patternErrorMessage": words}


def taking(**schema: Any) -> Any:
    """Return what a `BeforeValidator` takes, in the words of JSON schema."""
    return Annotated[Any, WithJsonSchema(schema)]


def never(number: int, words: str) -> Rules:
    """Return the rule that a value is not this number, in quotes or without."""
    plain = {"type": "integer", "minimum": number, "maximum": number}
    quoted = {"type": "string", "pattern": rf"^\s*{number}\s*$"}
    return Rules([refused({"anyOf": [plain, quoted]}, words)])


# What quotes may stand around.
TRUE = "[Tt][Rr][Uu][Ee]"
TRUTH = f"{TRUE}|[Ff][Aa][Ll][Ss][Ee]"
# More digits than these Python could not read, or would read as infinity.
NUMBER = r"[+-]?[0-9]{1,300}(\.[0-9]{1,300})?"
WHOLE = r"[+-]?[0-9]{1,300}(\.0+)?"

VERSION = r"(?:py)?3\.?([0-9]{1,2})"


def versions(names: Iterable[str]) -> JsonSchemaValue:
    """Return what editors are told of these versions of Python: for them, 3.10 is the number 3.1."""
    words = "This is no version of Python for models. Take one of 3.9 to 3.14, such as py311."
    minors = [name.removeprefix("py3") for name in names]
    numbers = [*(float(f"3.{minor}") for minor in minors), *(int(f"3{minor}") for minor in minors)]
    written = VERSION.replace("[0-9]{1,2}", "|".join(minors))
    others = {
        "type": ["string", "number"],
        "pattern": rf"^\s*{written}\s*$",
        "patternErrorMessage": words,
        **refused({"type": "number", "not": {"enum": numbers}}, words),
    }
    return {"anyOf": [{"enum": [*names]}, others]}


_FILL = "Write something, or leave it out."

# Lines and commands.
FILLED = Shape(r"\S[\s\S]*", "must not be empty", _FILL, spaced=True)
LINE = Shape(r"[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f]", "must be one line of printable characters", spaced=True)
REQUIREMENT = Shape("[^#].*", "must not be empty", _FILL, spaced=True)
ONE_COMMAND = Shape(
    r"([^\n\\]|\\\n?)*",
    "has several lines",
    r"Make each an item of its own, or end a line with `&& \`.",
    spaced=True,
)
DEBIAN_PACKAGE = Shape(
    "[A-Za-z0-9]([A-Za-z0-9_.+:=/~*-]*[A-Za-z0-9_.+~*])?",
    "{} is no name of a Debian package",
    "Names stand alone or with spaces between, without options.",
)
DEBIAN_PACKAGES = replace(
    DEBIAN_PACKAGE, pattern=f"{DEBIAN_PACKAGE.pattern}( +{DEBIAN_PACKAGE.pattern})*", spaced=True
)

# Names. `[^\x00-/:-@\[-^`{-\x7f]` is a letter, a digit or `_` of any script.
MODEL_NAME = Shape(
    r"[\s\S]*[^\x00-/:-@\[-`{-\x7f][\s\S]*",
    "needs a letter from a to z or a digit",
    "URLs and images are named after it.",
)
CLASS_NAME = Shape(
    r"(?![0-9])[^\x00-/:-@\[-^`{-\x7f]+",
    "{} is no name of a class",
    "Write what follows `class` in the file.",
)
SECRET = Shape(SECRET_NAME, "is no name of a secret", "Take letters, digits, `_`, `-` and `.`, not first.")
SECRET_OR_LOGIN = replace(SECRET, pattern=rf"{SECRET_NAME}|{LOGIN}[^\x00-\x1f\x7f]*")
VARIABLE = Shape(r"[^=\s\x00]+", "is no name of a variable", "Take letters, digits and `_`.")
VALUE = Shape(r"[^\x00]*", "must not hold a null character", "Take it out.")
IMAGE = Shape(
    f"{IMAGE_NAME}(@[A-Za-z0-9_]+:[0-9a-f]{{32,}})?",
    "{} is no name of an image",
    "Write one like `python:3.12-slim`, or with its registry: `ghcr.io/ours/base:1`.",
    spaced=True,
)

# Paths. `(\.?/)*` is what of one says nothing.
_LIKE_MODEL = "Write a path like `model`, relative to the folder of config.yaml."
RELATIVE = Shape(
    r"(?![/~])[^\\\x00-\x1f\x7f]+",
    "must be relative, with `/` between folders",
    _LIKE_MODEL,
    spaced=True,
)
BESIDE = replace(RELATIVE, advice="Write a path like `../common`, relative to the package.")
WITHIN = Shape(
    r"(?!(.*/)?\.\.(/|\s*$))(?!(\.?/)*\.?\s*$).*",
    "must lie inside the package, in a place of its own",
    _LIKE_MODEL,
    spaced=True,
)
UNTAKEN = Shape(
    rf"(?!(\.?/)*(config\.yaml|{re.escape(MANIFEST)})(/|\s*$)).*",
    "{} has a meaning of its own",
    _LIKE_MODEL,
    spaced=True,
)
PYTHON_FILE = Shape(r".*\.py(/\.?)*", "must be a Python file", "Write a name like `model.py`.", spaced=True)
PROGRAM = Shape(
    r"(/(?!\.\.(/|$))[A-Za-z0-9._+-]+)+",
    "{} is no absolute path of a program",
    "Write one like `/usr/local/bin/python3`.",
)
MOUNTED = Shape(
    r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._+@-]+)+",
    "{} is no absolute path of a file",
    "Write one like `/root/.netrc`, without spaces or commas.",
)


def outside(folders: Iterable[str]) -> Shape:
    """Return the shape of paths that are in none of these folders, and no folder that holds more."""
    above = "/usr(/local)?|/opt|/etc|/root|/home|/var|/app"
    return Shape(
        f"(?!({'|'.join(folders)})(/|$))(?!({above})$).*",
        "{} would hide what the commands need",
        "Take a place such as `/root/my_token`.",
    )


# Amounts.
CPU = Shape(
    r"(?=.*[1-9])([0-9]+(\.[0-9]+)?|[0-9]+m)", "{} is no number of cores", "Write `4`, `0.5` or `500m`."
)
MEMORY = Shape(
    r"(?=.*[1-9])[0-9]+(\.[0-9]+)?([kMGTPE]|[KMGTPE]i)?",
    "{} is no amount of memory",
    "Write a number and a unit: `16Gi`, `512Mi`. Without a unit it is bytes.",
)
ACCELERATOR = Shape(
    "(?!([Nn][Oo][Nn][Ee]|[Cc][Pp][Uu])(:|$))[A-Za-z0-9_]+(:[1-9][0-9]*)?",
    "{} is no accelerator",
    "Write its type, and how many: `L4`, `A100:2`.",
)

# What goes over wires.
URL = Shape(r"https?://[^\s/]+\S*", "{} is no URL", "Write one that begins with https:// or http://.")
ROUTE = Shape("/[!-~]*", "{} is no route", "Write the path of a URL, such as `/health`.")
SHA256 = Shape("[0-9a-fA-F]{64}", "{} is no SHA-256", "Write the 64 digits that `sha256sum FILE` prints.")
