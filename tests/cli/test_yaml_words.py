"""What is wrong with a file that is no YAML: told where it began, and in words of those who write one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from truss.errors import PackageError
from truss.excerpt import Mark
from truss.yaml_source import read_yaml
from truss.yaml_words import in_quotes, value_at

PATH = Path("config.yaml")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, so that messages name `config.yaml` only."""
    monkeypatch.chdir(tmp_path)


def details(text: str) -> str:
    """Return what is said of a text."""
    PATH.write_text(text)
    try:
        source = read_yaml(PATH)
    except PackageError as exc:
        return exc.details
    return source.refusal(source.problems).details


@pytest.mark.parametrize(
    ("text", "place", "problem", "advice"),
    [
        ("a: 'it's'", "1:8", "the value has ended at the `'` before", 'Write "it\'s".'),
        ('a: "b" c', "1:8", 'the value has ended at the `"` before', "Write '\"b\" c'."),
        ('a: "b\nc: "d"', "2:5", "a text that began further up has ended", 'Add the `"` that is missing'),
        ("a: {{ x }} y", "1:12", "the value has ended at the `}` before", '"{{ x }} y"'),
        ("a: {{ x }}", "1:5", "a key must be text", 'put it in quotes: "{{ x }}".'),
        ("a: b: c  # d", "1:5", "a `: ` in a value that stands in no quotes", 'Put it in quotes: "b: c".'),
        ("- a\n- b: c: d", "2:7", "a `: ` in a value", 'Put it in quotes: "c: d".'),
        ("a: b\n  c: d", "2:4", "a key where the value above goes on", "in the same column"),
        ("a: @x", "1:4", "no value can begin with `@`", 'put it in quotes: "@x".'),
        ("a: `x`", "1:4", "no value can begin with a backtick", 'put it in quotes: "`x`".'),
        ("a: {% x %}", "1:5", "no value can begin with `%`", 'put it in quotes: "{% x %}".'),
        ("a: *x", "1:4", "`*` names an anchor", 'put it in quotes: "*x".'),
        ("a: & x", "1:4", "`&` has a meaning of its own", 'put it in quotes: "& x".'),
        ("a: |x", "1:4", "`|` has a meaning of its own", 'put it in quotes: "|x".'),
        ("a: - x", "1:4", "no value can begin with `-`", 'put it in quotes: "- x".'),
        ("a: [b, c\nd: e", "1:4", "this `[` has no `]` before line 2, column 2", "Add it, or a comma."),
        ("a: [b", "1:4", "this `[` has no `]`\n", "Add it."),
        ("a: {b: c", "1:4", "this `{` has no `}`\n", "Add it."),
        ('a: "b\nc: d', "1:4", 'this `"` has no other one that ends the text', "Add it."),
        ("a: [b,, c]", "1:7", "this `,` has nothing before it", "Remove it."),
        ("a: ]x", "1:4", "this `]` has nothing before it", 'put it in quotes: "]x".'),
        ('a: "C:\\data"', "1:8", "in double quotes, `\\d` is no character", "take single quotes"),
        ("a: 1\nb:x\nc: 2", "2:1", "`b:x` is no `key: value`", "After a colon comes a space."),
        ("a: 1\nb\nc: 2", "2:1", "`b` is no `key: value`", "Write `key: value`."),
        ("a:\n-b\n-c", "2:1", "`-b` is no `key: value`", "After a dash comes a space: `- b`."),
        ("a:\n  b: 1\n c: 2", "3:2", "this line begins in another column", "in the same column"),
        ("a:\n  - b\n - c", "3:2", "this line begins in another column", "in the same column"),
        ("a: 1\n---\nb: 2", "2:1", "a second document", "Remove it"),
        ("a:\n\tb: 1", "2:1", "a tab, where YAML wants spaces", "Indent with spaces."),
        ("a: !<x", "1:4", "`!` has a meaning of its own", "put it in quotes"),
    ],
)
def test_words(text: str, place: str, problem: str, advice: str) -> None:
    """Each usual slip is shown where it began, with what to write instead."""
    first, *_, last = details(text).splitlines()

    assert f"config.yaml:{place}: {problem}" in f"{first}\n"
    assert advice in last


def test_value_at() -> None:
    """What is to be quoted is the whole value on the line, wherever in it the trouble was."""
    assert value_at("- a: {{ b: c }} d # e", Mark(1, 10)) == "{{ b: c }} d"
    assert value_at("- @a", Mark(1, 3)) == "@a"
    assert value_at("@a", Mark(1, 1)) == "@a"
    assert value_at("a: 1", Mark(3, 1)) == ""


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_in_quotes(value: str) -> None:
    """What is advised says what was meant."""
    assert yaml.safe_load(in_quotes(value)) == value
