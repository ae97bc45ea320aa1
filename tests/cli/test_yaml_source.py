"""YAML with positions: every problem is found at its place."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from truss.errors import PackageError
from truss.excerpt import Mark
from truss.yaml_source import MAX_BYTES, Location, read_yaml

PATH = Path("config.yaml")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, so that messages name `config.yaml` only."""
    monkeypatch.chdir(tmp_path)


def refused(text: str) -> PackageError:
    """Read a text that is wrong and return the error."""
    PATH.write_text(text)
    with pytest.raises(PackageError) as caught:
        read_yaml(PATH)
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


def test_invalid_yaml() -> None:
    """Invalid YAML names file, line and column and shows the line with a caret."""
    error = refused("model_name: falcon\nrequirements: [torch\nresources:\n")

    assert error.exit_code == 3
    assert error.message == "config.yaml is not valid."
    assert error.details == (
        "config.yaml:3:10: while parsing a flow sequence that began on line 2: "
        "expected ',' or ']', but got ':'\n"
        "  3 | resources:\n"
        "    |          ^"
    )


def test_tabs() -> None:
    """Indenting with a tab says what YAML wants instead."""
    error = refused("resources:\n\tcpu: 1\n")

    assert error.details.startswith("config.yaml:2:1: ")
    assert error.hint == "YAML indents with spaces, not with tabs."


def test_duplicate_keys() -> None:
    """A key that is there twice is refused and both lines are named."""
    error = refused("a: 1\nresources:\n  cpu: 1\n  memory: 2Gi\n  cpu: 2\n")

    assert error.details == (
        "config.yaml:5:3: the key `cpu` is already on line 3\n"  # the second one, naming the first
        "  5 |   cpu: 2\n"
        "    |   ^"
    )
    assert error.hint == "Keep one of the two."


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


@pytest.mark.parametrize("text", ["[" * 1000, "a: " + "{b: " * 1000 + "1" + "}" * 1000])
def test_depth(text: str) -> None:
    """Absurd nesting is an error of the file, not of the tool."""
    assert refused(text).message == "config.yaml is nested too deeply."


def test_contradicting_tag() -> None:
    """A tag that its value contradicts is an error of the file."""
    assert "contradicts its tag" in refused("a: !!int many\n").message


def test_missing() -> None:
    """A missing file says so and what to do."""
    with pytest.raises(PackageError) as caught:
        read_yaml(PATH)

    assert caught.value.message == f"There is no config.yaml in {Path.cwd()}."
    assert "truss init" in caught.value.hint


def test_missing_folder() -> None:
    """A folder that is not there is named."""
    with pytest.raises(PackageError) as caught:
        read_yaml(Path("falcon/config.yaml"))

    assert caught.value.message == "There is no folder falcon."


def test_wrong_suffix() -> None:
    """`config.yml` is told apart from no file at all."""
    Path("config.yml").write_text("a: 1\n")

    with pytest.raises(PackageError) as caught:
        read_yaml(PATH)

    assert caught.value.message == "The file must be called config.yaml, not config.yml."
    assert caught.value.hint == "mv config.yml config.yaml"


def test_not_a_file() -> None:
    """A folder of that name cannot be read, and the reason is the system's."""
    PATH.mkdir()

    with pytest.raises(PackageError, match=r"config\.yaml cannot be read: Is a directory\."):
        read_yaml(PATH)


def test_not_utf8() -> None:
    """Another encoding is named with the line where it shows."""
    PATH.write_bytes(b"a: 1\nb: caf\xe9\n")

    with pytest.raises(PackageError, match=r"config\.yaml:2 is not UTF-8"):
        read_yaml(PATH)


def test_size() -> None:
    """A file that is no configuration is not read at all."""
    PATH.touch()
    os.truncate(PATH, MAX_BYTES + 1)

    with pytest.raises(PackageError, match="larger than 1 MiB"):
        read_yaml(PATH)


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
        assert "^" in error.details or "contradicts" in error.message
