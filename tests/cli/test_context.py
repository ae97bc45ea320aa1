"""`truss.context`: the tar stream is read back by what reads tars."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import build_tree
from tests.plans import make_file
from truss.context import READ_BYTES, Context, Member
from truss.errors import PackageError

NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60
).filter(lambda name: name not in {".", ".."})
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda names: PurePosixPath(*names))


def read_tar(context: Context, *extra: Member) -> dict[str, tarfile.TarInfo]:
    """Return the members of a context's tar stream by name."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(context.tar(extra)))) as tar:
        return {info.name: info for info in tar}


def contents(context: Context) -> dict[str, bytes]:
    """Return the files of a context's tar stream."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(context.tar()))) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.isfile()}  # type: ignore[union-attr]


def files_of(folder: Path) -> Context:
    """Return a context of all files below a folder."""
    found = [make_file(folder, path) for path in folder.rglob("*") if path.is_file()]
    return Context(tuple(Member(file.path, file, file.executable) for file in found))


@given(st.dictionaries(PATHS, st.binary(max_size=2000), max_size=6))
def test_a_stream_reads_back_as_what_was_planned(files: dict[PurePosixPath, bytes]) -> None:
    """Names of any letters and length, and contents of any size, survive the way through the tar."""
    inside_a_file = {path for path in files if set(path.parents) & set(files)}
    kept = {path: content for path, content in files.items() if path not in inside_a_file}

    context = Context(tuple(Member(path, content) for path, content in kept.items()))

    assert {str(path): content for path, content in kept.items()} == contents(context)


def test_equal_plans_make_equal_bytes(tmp_path: Path) -> None:
    """Neither times nor odd permissions nor the order of the disk show in a context."""
    files: dict[str, str | bytes] = {
        "model/model.py": "class Model: ...\n",
        "data/ä.bin": b"\0" * 1000,
        "run.sh": "#!/bin/sh\n",
    }
    one = build_tree(tmp_path / "one", files)
    other = build_tree(tmp_path / "other", dict(reversed(list(files.items()))))
    for folder, mode in ((one, 0o700), (other, 0o775)):
        (folder / "run.sh").chmod(mode)
    (other / "model/model.py").chmod(0o600)
    os.utime(other / "run.sh", (1, 1))

    first, second = files_of(one), files_of(other)

    assert b"".join(first.tar()) == b"".join(second.tar())
    assert first.digest == second.digest


def test_members_belong_to_nobody_and_have_no_time(tmp_path: Path) -> None:
    """What differs from machine to machine is the same for every member; folders come before what is in them."""
    folder = build_tree(tmp_path, {"model/model.py": "", "run.sh": ""})
    (folder / "run.sh").chmod(0o755)

    members = read_tar(files_of(folder))

    assert list(members) == ["model", "model/model.py", "run.sh"]
    assert [info.mode for info in members.values()] == [0o755, 0o644, 0o755]
    assert {(0, 0, "", "", 0)} == {(i.uid, i.gid, i.uname, i.gname, i.mtime) for i in members.values()}
    assert all(not info.pax_headers for info in members.values())


def test_a_long_name_takes_a_pax_header() -> None:
    """The plain header holds a hundred bytes of a name."""
    path = PurePosixPath("f" * 60, "g" * 60)

    members = read_tar(Context((Member(path, b""),)))

    assert {"path": str(path)} == members[str(path)].pax_headers


def test_files_are_read_piece_by_piece(tmp_path: Path) -> None:
    """No file is ever in memory as a whole."""
    build_tree(tmp_path, {"data/weights.bin": b"w" * (3 * READ_BYTES + 5)})

    assert max(map(len, files_of(tmp_path).tar())) == READ_BYTES


@pytest.mark.parametrize("content", ["longer than it was", "short", "equal"])
def test_a_file_that_changed_since_the_plan_is_refused(tmp_path: Path, content: str) -> None:
    """An image never holds something else than its digest says."""
    build_tree(tmp_path, {"a.txt": "plain"})
    context = files_of(tmp_path)
    (tmp_path / "a.txt").write_text(content)

    with pytest.raises(PackageError) as caught:
        list(context.tar())

    assert f"{tmp_path}/a.txt changed while it was sent." == caught.value.message


def test_a_file_that_went_away_since_the_plan_is_named(tmp_path: Path) -> None:
    """The error says which file it was."""
    build_tree(tmp_path, {"a.txt": "plain"})
    context = files_of(tmp_path)
    (tmp_path / "a.txt").unlink()

    with pytest.raises(PackageError) as caught:
        list(context.tar())

    assert f"{tmp_path}/a.txt cannot be read any more: No such file or directory." == caught.value.message


def test_the_digest_covers_name_content_mode_and_folders() -> None:
    """Whatever makes another image makes another digest."""
    path = PurePosixPath("a")
    contexts = [
        Context(()),
        Context((Member(path, b""),)),
        Context((Member(path, b"x"),)),
        Context((Member(path, b"x", executable=True),)),
        Context((Member(PurePosixPath("b"), b"x"),)),
        Context((Member(path, b"x"),), folders=(PurePosixPath("data"),)),
    ]

    assert len(contexts) == len({context.digest for context in contexts})


def test_what_only_the_build_needs_is_sent_and_not_counted() -> None:
    """Settings of the user are in the stream, and an image is the same with others."""
    context = Context((Member(PurePosixPath("Dockerfile"), b"FROM base\n"),))
    before = context.digest

    members = read_tar(context, Member(PurePosixPath("settings/pip.conf"), b"[global]\n"))

    assert list(members) == ["settings", "Dockerfile", "settings/pip.conf"]
    assert before == context.digest
