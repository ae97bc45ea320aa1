"""YAML with positions: every problem is found at its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from truss.errors import PackageError
from truss.excerpt import Mark
from truss.yaml_source import MAX_DEPTH, MAX_DIGITS, Location, YamlSource, read_yaml

PATH = Path("config.yaml")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, so that messages name `config.yaml` only."""
    monkeypatch.chdir(tmp_path)


def read(text: str) -> YamlSource:
    """Read a text in which nothing is wrong."""
    PATH.write_text(text)
    source = read_yaml(PATH)
    if source.problems:
        raise source.refusal(source.problems)
    return source


def refused(text: str) -> PackageError:
    """Read a text that is wrong and return the error."""
    with pytest.raises(PackageError) as caught:
        read(text)
    return caught.value


def test_positions() -> None:
    """Keys, items and values know where they begin, counted from 1."""
    PATH.write_text("a: 1\nb:\n  - x\n  - {c: é, d:   2}\n")

    source = read_yaml(PATH)

    assert source.data == {"a": 1, "b": ["x", {"c": "é", "d": 2}]}
    assert source.keys == {
        ("a",): Mark(1, 1),
        ("b",): Mark(2, 1),
        ("b", 0): Mark(3, 5),
        ("b", 1): Mark(4, 5),
        ("b", 1, "c"): Mark(4, 6),
        ("b", 1, "d"): Mark(4, 12),
    }
    assert source.values[("b", 1, "d")] == Mark(4, 17)
    assert source.find(("b", 1, "none", "here")) == Mark(4, 5)
    assert source.find(("nowhere",)) == Mark(1, 1)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "\ufeff"])
def test_empty(text: str) -> None:
    """A file that says nothing is an empty mapping."""
    PATH.write_text(text)

    assert read_yaml(PATH).data == {}


def test_keys_and_dates_are_text() -> None:
    """What YAML 1.1 turns into booleans or dates behind the author's back stays what was written."""
    PATH.write_text("on: yes\n2024: 2024-01-31\nsame: =\n")

    assert read_yaml(PATH).data == {"on": True, "2024": "2024-01-31", "same": "="}


def test_verbatim() -> None:
    """A scalar at a verbatim location keeps its text; null stays null."""
    PATH.write_text("v: 3.10\nw: 3.10\nvars: {A: 0777, B: ~}\n")

    def verbatim(location: Location) -> bool:
        return location == ("v",) or location[0] == "vars"

    assert read_yaml(PATH, verbatim=verbatim).data == {
        "v": "3.10",
        "w": 3.1,
        "vars": {"A": "0777", "B": None},
    }


def test_merge_keys() -> None:
    """Anchors and merge keys work, and the mapping's own key wins."""
    PATH.write_text("x: &x {p: 1, q: 1}\ny: {q: 2, <<: *x}\nz: {<<: [*x, {r: 3}]}\n")

    source = read_yaml(PATH)

    assert source.data["y"] == {"p": 1, "q": 2}
    assert source.data["z"] == {"p": 1, "q": 1, "r": 3}
    assert source.find(("y", "q"), key=True) == Mark(2, 5)


def test_duplicate_keys() -> None:
    """A key that is there twice is refused and both lines are named."""
    error = refused("a: 1\nresources:\n  cpu: 1\n  memory: 2Gi\n  cpu: 2\n")

    assert error.details == (
        "config.yaml:5:3: the key `cpu` is already on line 3\n"  # the second one, naming the first
        "  5 |   cpu: 2\n"
        "    |   ^\n"
        "  Keep one of the two."
    )


def test_what_is_wrong_at_once() -> None:
    """One problem of the file does not hide the next, nor what the rest says."""
    PATH.write_text("a: 1\na: 2\nb: !env HOME\nc: !!int many\n? [d]\n: 1\ne: {f: 3, f: 4}\n")
    source = read_yaml(PATH)

    assert [(one.line, one.key) for one in source.problems] == [
        (2, "a"),
        (3, "b"),
        (4, "c"),
        (5, ""),
        (7, "e.f"),
    ]
    assert source.data == {"a": 1, "b": "HOME", "c": None, "e": {"f": 3}}
    assert source.unread == {("b",), ("c",)}


def test_a_problem_in_what_is_repeated() -> None:
    """What an alias repeats is wrong once."""
    assert refused("a: &a {b: 1, b: 2}\nc: *a\nd: *a\n").message == "config.yaml has a problem."


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a\n- b\n", "config.yaml:1:1: a list, where `key: value` lines are expected"),
        ("# c\nfalcon\n", "config.yaml:2:1: a single value, where `key: value` lines are expected"),
        ("a: &x [*x]\n", "config.yaml:1:4: this value contains itself"),
        ("a: &x {<<: *x}\n", "config.yaml:1:4: this value contains itself"),
        ("a: {<<: 3}\n", "config.yaml:1:9: `<<` takes a mapping"),
        ("a: !!set {b}\n", "config.yaml:1:4: the tag `!!set` is not supported"),
        ("a: !env HOME\n", "config.yaml:1:4: the tag `!env` is not supported"),
        ("a: !!str [b]\n", "config.yaml:1:4: the tag `!!str` is not supported"),
        ("a: !!int many\n", "config.yaml:1:4: `many` is no `!!int`"),
        ('a: !!int ""\n', 'config.yaml:1:4: `""` is no `!!int`'),
        ('a: {b: !!float ""}\n', 'config.yaml:1:8: `""` is no `!!float`'),
        ("a: !!bool maybe\n", "config.yaml:1:4: `maybe` is no `!!bool`"),
        ("a: 0x_\n", "config.yaml:1:4: `0x_` is no `!!int`"),
        ("? [a]\n: 1\n", "config.yaml:1:3: a key must be text"),
        ("ok: 1\na: \x01\n", "config.yaml:2:4: the character '\\x01' is not allowed in YAML"),
    ],
)
def test_no_plain_data(text: str, problem: str) -> None:
    """What has no place in a configuration is refused where it stands."""
    assert refused(text).details.splitlines()[0] == problem


def test_aliases_do_not_explode() -> None:
    """A few lines of nested aliases are refused before they fill the memory."""
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]

    assert "more than 20000 values" in refused("\n".join(lines)).details


def test_aliases_of_nothing_do_not_explode() -> None:
    """Nested merges of empty mappings come to an end, too."""
    lines = ["a0: &a0 {}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40))]

    assert "more than 20000 values" in refused("\n".join(lines)).details


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[" * 1000, "1:102"),
        ("a: " + "{b: " * 1000 + "1" + "}" * 1000, "1:401"),
        ("a: " + "{b: " * MAX_DEPTH + "1" + "}" * MAX_DEPTH, "1:401"),
        ("\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 120))]), "1:10"),
        ("\n".join(["a0: &a0 {b: c}", *(f"a{n}: &a{n} {{<<: *a{n - 1}}}" for n in range(1, 120))]), "1:5"),
    ],
    ids=["lists", "mappings", "one more", "aliases", "merges"],
)
def test_depth(text: str, place: str) -> None:
    """Absurd nesting is an error at a place of the file, not of the tool."""
    error = refused(text)

    assert f"config.yaml:{place}: nested deeper than 100 levels" in error.details


def test_depth_that_is_taken() -> None:
    """What is nested less is read."""
    found = read("a: " + "{b: " * (MAX_DEPTH - 1) + "1" + "}" * (MAX_DEPTH - 1)).data

    assert str(found).count("{") == MAX_DEPTH


@pytest.mark.parametrize("number", ["9" * (MAX_DIGITS + 1), "0x" + "f" * 5000, f"1.{'0' * 5000}"])
def test_numbers_without_end(number: str) -> None:
    """A number that Python could not write again is refused at its place."""
    assert "config.yaml:1:4: a number of more than 1000 digits" in refused(f"a: {number}").details


def test_characters_in_two_halves() -> None:
    """What JSON writes as two halves is one character; half a one is none, in a value as in a key."""
    assert read('{"a\\ud83d\\ude00": "\\ud83d\\ude00"}').data == {"a😀": "😀"}

    error = refused('a: "x"\nb: {c: "\\ud800"}\n"\\udfff": 1\n')
    assert [(one.line, one.column, one.key) for one in error.problems] == [(2, 8, "b.c"), (3, 1, "")]
    assert "half a character" in error.details


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_like, max_size=5), st.booleans())
def test_what_was_dumped_is_read(data: dict[str, Any], flow: bool) -> None:
    """Reading inverts writing, and every key and value has a place inside the file."""
    PATH.write_text(yaml.safe_dump(data, default_flow_style=flow))

    source = read_yaml(PATH)

    assert source.data == data
    assert all(
        1 <= mark.line <= source.text.count("\n") for mark in [*source.keys.values(), *source.values.values()]
    )


@given(st.text(alphabet=st.sampled_from("ab:-?[]{},&*!<>|'\"# \n\t%@`=~1."), max_size=40))
def test_any_text_is_read_or_explained(text: str) -> None:
    """No text ends in anything but data or an error with an excerpt."""
    PATH.write_text(text)

    error = None
    try:
        source = read_yaml(PATH)
    except PackageError as caught:
        error = caught

    if error is None:
        assert source.data == json.loads(json.dumps(source.data))
    else:
        assert "^" in error.details
