"""The schema of config.yaml for editors: it takes what the loader takes, and as little else as JSON schema can say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

from truss.config import TrussConfig
from truss.config_rules import INSTALLED
from truss.config_sections import DockerServer
from truss.config_shapes import NUMBER, TRUE, TRUTH, WHOLE, refused
from truss.config_values import EMPTY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.json_schema import JsonSchemaMode, JsonSchemaValue
    from pydantic_core import CoreSchema
    from pydantic_core.core_schema import DictSchema, ModelSchema, NullableSchema

    from truss.config_sections import Section

_QUOTED = {
    "boolean": (TRUTH, "This must be true or false."),
    "integer": (WHOLE, "This must be a whole number."),
    "number": (NUMBER, "This must be a number."),
}
"""Types whose values may stand in quotes: what is in them, and what an editor says of anything else."""

_TOLD = ("description", "default", "examples")
_KIND = ("type", "enum", "const")

_TRUE = {"type": ["boolean", "string"], "not": {"const": False}, "pattern": rf"^\s*({TRUE})\s*$"}
_NO_BUILD = {"type": "object", "required": ["no_build"], "properties": {"no_build": _TRUE}}
_IMAGE_AS_IT_IS = {"required": ["docker_server"], "properties": {"docker_server": _NO_BUILD}}
_REQUIREMENTS = {
    "required": ["requirements"],
    "properties": {"requirements": {"type": "array", "minItems": 1}},
}


def _given(key: str, words: str) -> JsonSchemaValue:
    """Return the rule that a text is there: `required` alone takes null."""
    value = {"type": "string", "errorMessage": words, "doNotSuggest": True}
    return {"required": [key], "properties": {key: value}, "errorMessage": words}


def _empty(words: str) -> JsonSchemaValue:
    """Return the rule that a key has no value, or an empty list."""
    return {**refused({"not": {"enum": [None, []]}}, words), "doNotSuggest": True}


_NO_COMMAND = (
    "`start_command` is missing: only an image as it is, with `no_build: true`, may have one of its own."
)
_NO_IMAGE = "`no_build` runs an image as it is, and none is named: name it in `base_image.image`."
_BASE_IMAGE = {"type": "object", "doNotSuggest": True, **_given("image", _NO_IMAGE)}
_TWICE = _empty("There is `requirements` too: keep one of the two.")
_NOTHING_MADE = {
    key: _empty("With `no_build`, nothing is made of this: remove it, or `no_build`.") for key in INSTALLED
}

_TOGETHER: Mapping[type[Section], list[JsonSchemaValue]] = {
    DockerServer: [{"if": {"not": _NO_BUILD}, "then": _given("start_command", _NO_COMMAND)}],
    TrussConfig: [
        {"if": _REQUIREMENTS, "then": {"properties": {"requirements_file": _TWICE}}},
        {
            "if": _IMAGE_AS_IT_IS,
            "then": {
                "properties": {"base_image": _BASE_IMAGE, **_NOTHING_MADE},
                "required": ["base_image"],
                "errorMessage": _NO_IMAGE,
            },
        },
    ],
}
"""What keys ask of each other. What is offered for completion is what the keys themselves say."""


class EditorSchema(GenerateJsonSchema):
    """Makes the schema: flat, because editors understand that best, and without titles, which repeat the keys."""

    schema_dialect = "http://json-schema.org/draft-07/schema#"

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        """Return the schema, with each section where it is used."""
        found = super().generate(schema, mode)
        sections = found.pop("$defs")
        return {"$schema": self.schema_dialect, **_with_sections(found, sections)}

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        """Return the schema of a section."""
        found = super().model_schema(schema)
        del found["title"]
        section: type[Section] = schema["cls"]
        for name, key in found["properties"].items():
            if name in section.unused_keys():
                offered = {"description": key["description"], "deprecated": True, "doNotSuggest": True}
            else:
                offered = _or_quoted(key)
                if EMPTY in section.model_fields[name].metadata:
                    offered = _or_empty(offered)
                if name not in found.get("required", ()):
                    offered = _or_null(offered)
            found["properties"][name] = offered
        if section in _TOGETHER:
            found["allOf"] = _TOGETHER[section]
        return found

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        """Return that no key has a title."""
        return False

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        """Return the schema of a value that may be null."""
        return _or_null(self.generate_inner(schema["schema"]))

    def dict_schema(self, schema: DictSchema) -> JsonSchemaValue:
        """Return the schema of a mapping whose keys the author names."""
        found = super().dict_schema(schema)
        for pattern, values in found.pop("patternProperties", {}).items():
            names = {"pattern": pattern, **found.get("propertyNames", {})}
            found |= {"additionalProperties": values, "propertyNames": names}
        return found


def _or_quoted(key: JsonSchemaValue) -> JsonSchemaValue:
    """Return the schema of a key whose number, or true or false, may stand in quotes."""
    types = _types(key)
    plain = next((kind for kind in types if kind in _QUOTED), None)
    if plain is None or "string" in types:
        return key
    pattern, words = _QUOTED[plain]
    types.insert(1, "string")
    return {**key, "type": types, "pattern": rf"^\s*({pattern})\s*$", "patternErrorMessage": words}


def _or_empty(key: JsonSchemaValue) -> JsonSchemaValue:
    """Return the schema of a key for which an empty text is no value."""
    told: JsonSchemaValue = {word: key[word] for word in _TOLD if word in key}
    value = {word: rule for word, rule in key.items() if word not in told}
    return {**told, "anyOf": [value, {"const": "", "doNotSuggest": True}]}


def _or_null(key: JsonSchemaValue) -> JsonSchemaValue:
    """Return the schema of a key that may be without a value."""
    if "$ref" in key:
        key = {**key, "type": "object"}  # a section: what is beside the reference goes before what it says
    elif not {"enum", "const"}.isdisjoint(key):
        kind = {word: key[word] for word in _KIND if word in key}
        key = {**{word: key[word] for word in key if word not in _KIND}, "anyOf": [kind]}
    if "anyOf" in key:
        key = {**key, "anyOf": [*key["anyOf"], {"type": "null"}]}
    elif "null" not in (types := _types(key)):
        key = {**key, "type": [*types, "null"]}
    if key.get("default") is None or "$ref" in key:
        key.pop("default", None)
    return key


def _types(key: JsonSchemaValue) -> list[str]:
    kind = key.get("type", [])
    return [kind] if isinstance(kind, str) else [*kind]


def _with_sections(schema: Any, sections: Mapping[str, JsonSchemaValue]) -> Any:
    """Return a schema with what its references refer to in their places."""
    if isinstance(schema, list):
        return [_with_sections(item, sections) for item in schema]
    if not isinstance(schema, dict):
        return schema
    own = {word: _with_sections(value, sections) for word, value in schema.items() if word != "$ref"}
    if "$ref" not in schema:
        return own
    section = sections[schema["$ref"].rpartition("/")[2]]
    return {**_with_sections(section, sections), **own}
