"""`truss secrets`, and how secrets reach a deployment: as files of its user, and nowhere else."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.harness import TRUSS, Outcome, run_truss, spawn_truss
from tests.helpers import build_tree, wait_until
from truss.errors import EngineError, UsageError
from truss.plan import plan_release
from truss.push import unset_secrets
from truss.secrets import MOST_BYTES, SecretStore, find_secrets, shown_as, write_secrets
from truss.stages import stages
from truss.targets.local import LocalTarget

if TYPE_CHECKING:
    from collections.abc import Iterator


ASKS = """
class Model:
    def __init__(self, secrets):
        self.secrets = secrets

    def predict(self, name):
        return self.secrets[name]
"""


def home() -> Path:
    """Return the folder for state of this test."""
    return Path(os.environ["TRUSS_HOME"])


def test_set_list_remove() -> None:
    """A secret is set from standard input, listed by name only, and removed."""
    told = run_truss("secrets", "set", "hf_token", stdin="hf_abc\n")

    assert told == Outcome(
        stderr="hf_token is set; deployments whose config.yaml names it have it from their next push.\n"
    )
    assert run_truss("secrets", "set", "other", "--value", "x").code == 0
    assert run_truss("secrets", "list") == Outcome(stdout="hf_token\nother\n")
    login = run_truss("secrets", "set", "DOCKER_REGISTRY_ours", "--value", "x").stderr
    assert "which is not used here: `docker login` is" in login
    run_truss("secrets", "rm", "DOCKER_REGISTRY_ours")
    assert json.loads(run_truss("secrets", "list", "--output", "json").stdout) == ["hf_token", "other"]
    assert SecretStore.of(os.environ).get("hf_token") == "hf_abc"
    assert run_truss("secrets", "rm", "other").stderr == (
        "other is removed; deployments that have it keep it until they are pushed again.\n"
    )
    assert run_truss("secrets", "rm", "hf_token").code == 0
    assert run_truss("secrets", "list") == Outcome(stderr="No secret is set.\n")


def test_only_the_user_can_read_them() -> None:
    """Files of secrets, and their folder, are their user's alone, whatever the umask."""
    before = os.umask(0)
    try:
        run_truss("secrets", "set", "token", stdin="value")
        run_truss("secrets", "set", "token", stdin="newer")
    finally:
        os.umask(before)
    file = home() / "secrets" / "token"

    assert file.read_text() == "newer"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["token"]


def test_asked_on_a_terminal() -> None:
    """On a terminal the value is asked for and not shown."""
    with pexpect.spawn(TRUSS, ["secrets", "set", "token"], env={**os.environ}, timeout=20) as terminal:
        terminal.expect_exact("token: ")
        terminal.sendline("hidden-value")
        terminal.expect(pexpect.EOF)
        shown = terminal.before or b""

    assert b"hidden-value" not in shown
    assert SecretStore.of(os.environ).get("token") == "hidden-value"


def test_nothing_on_a_terminal() -> None:
    """Ctrl-D at the question gives nothing, which is told as that."""
    with pexpect.spawn(TRUSS, ["secrets", "set", "token"], env={**os.environ}, timeout=20) as terminal:
        terminal.expect_exact("token: ")
        terminal.sendeof()
        terminal.expect(pexpect.EOF)
        shown = terminal.before or b""

    assert b"error: The secret is empty." in shown
    assert terminal.exitstatus == 2


@pytest.mark.parametrize(
    ("args", "stdin", "message"),
    [
        (("set", "../evil"), "x", "'../evil' is no name of a secret."),
        (("set", ".hidden"), "x", "'.hidden' is no name of a secret."),
        (("set", "empty"), "\n", "The secret is empty."),
        (("set", "large"), "x" * (MOST_BYTES + 1), "A secret is text of 256 KiB at most."),
        (("set", "binary"), b"\xff", "The secret is no UTF-8 text."),
        (("set",), "x", "Missing argument 'NAME'."),
        (("list", "x"), "", "unexpected extra argument"),
        (("list", "--value", "x"), "", "No such option: --value"),
        (("rm", "token", "--value", "x"), "", "No such option: --value"),
        (("rm", "tokem"), "", "There is no secret tokem."),
    ],
)
def test_what_is_refused(args: tuple[str, ...], stdin: str | bytes, message: str) -> None:
    """A name that would leave the folder, no value, no text, a name too few or too many: told, with exit code 2."""
    run_truss("secrets", "set", "token", stdin="x")
    told = run_truss("secrets", *args, stdin=stdin)

    assert told.code == 2
    assert message in told.stderr


def test_a_name_that_is_nearly_one() -> None:
    """Who removes what is not there is told what may have been meant."""
    run_truss("secrets", "set", "hf_token", stdin="x")

    assert "Did you mean hf_token?" in run_truss("secrets", "rm", "hf_tokne").stderr


def test_a_set_secret_wins_over_the_variable() -> None:
    """Values come from the store, else from TRUSS_SECRET_NAME; only those that are asked for."""
    store = SecretStore.of(os.environ)
    store.set("a", "stored")
    store.set("unasked", "stored")
    environ = {**os.environ, "TRUSS_SECRET_a": "variable", "TRUSS_SECRET_b": "variable"}

    assert find_secrets(["a", "b", "c"], environ) == {"a": "stored", "b": "variable"}


def test_nothing_half_written(tmp_path: Path) -> None:
    """A value that cannot be written leaves the one before as it was."""
    store = SecretStore(tmp_path / "secrets")
    store.set("a", "before")
    with pytest.raises(UsageError):
        store.set("a", "\0")

    assert store.get("a") == "before"
    write_secrets(tmp_path / "new", {"a": "x"})
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.fixture
def target() -> Iterator[LocalTarget]:
    """Give the local target; what was started there is ended."""
    target = LocalTarget(environ=os.environ)
    yield target
    for place in target._places():
        for server in place.servers():
            server.kill()


def package(folder: Path, secrets: str) -> Path:
    """Write a package that asks for secrets."""
    config = f"model_name: asks\nsecrets: {secrets}\n"
    return build_tree(folder / "asks", {"config.yaml": config, "model/model.py": ASKS})


def deployed() -> dict[str, str]:
    """Return the deployment that runs; an engine of this machine may have some of others."""
    listed = json.loads(spawn_truss("list", "--output", "json").stdout)
    (one,) = (one for one in listed if one["target"] == "local")
    return dict(one)


def test_a_model_on_local(tmp_path: Path, target: LocalTarget) -> None:
    """A pushed model reads its secrets; a change reaches it with the next push; no command line or log has a value."""
    folder = package(tmp_path, "{hf_token: null, unnamed: fallback}")
    run_truss("secrets", "set", "hf_token", stdin="first-value")
    run_truss("secrets", "set", "foreign", stdin="foreign-value")
    pushed = spawn_truss("push", "--target", "local", "--timeout", "60", cwd=folder)
    assert pushed.code == 0, pushed.stderr

    def ask(name: str) -> Outcome:
        return spawn_truss("predict", "-d", json.dumps(name), cwd=folder)

    assert "not set" not in pushed.stderr
    assert ask("hf_token").stdout.strip() == '"first-value"'
    assert ask("unnamed").stdout.strip() == '"fallback"'
    assert ask("foreign").code != 0
    run_truss("secrets", "set", "hf_token", stdin="second-value")
    assert ask("hf_token").stdout.strip() == '"first-value"'
    server = Path(home(), "local", "asks", "environments", "production", "servers", deployed()["id"])
    assert [path.name for path in (server / "secrets").iterdir()] == ["hf_token"]
    assert stat.S_IMODE((server / "secrets" / "hf_token").stat().st_mode) == 0o600
    for told in [
        *Path("/proc").glob("[0-9]*/cmdline"),
        *Path("/proc").glob("[0-9]*/environ"),
        server / "log",
    ]:
        assert b"first-value" not in _content(told)
    assert spawn_truss("push", "--target", "local", "--timeout", "60", cwd=folder).code == 0
    assert ask("hf_token").stdout.strip() == '"second-value"'
    wait_until(lambda: not server.exists(), what="the folder of what was replaced to be removed")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_unset_secrets_are_told(tmp_path: Path, target: LocalTarget) -> None:
    """A push says which secrets without a default are set nowhere, and what to do."""
    folder = package(tmp_path, "{hf_token: null, key: null, other: default}")
    pushed = spawn_truss(
        "push", "--target", "local", "--timeout", "60", cwd=folder, environ={"TRUSS_SECRET_key": "x"}
    )

    assert pushed.code == 0, pushed.stderr
    assert "The secret hf_token is not set and has no default: `truss secrets set hf_token`." in pushed.stderr
    assert "key is not set" not in pushed.stderr
    assert "other is not set" not in pushed.stderr
    assert spawn_truss("predict", "-d", '"key"', cwd=folder).stdout.strip() == '"x"'


def test_a_secret_is_no_part_of_a_plan(tmp_path: Path) -> None:
    """What is set does not change the digest of a release, nor what is in it."""
    folder = package(tmp_path, "{hf_token: null}")
    before = plan_release(folder)
    run_truss("secrets", "set", "hf_token", stdin="value-of-it")

    assert plan_release(folder).manifest == before.manifest
    assert "value-of-it" not in before.manifest.to_json()


def test_logins_of_registries_reach_no_deployment(tmp_path: Path) -> None:
    """A login of Truss's own platform is in no release, in no label, and nothing that a push would ask for."""
    folder = package(tmp_path, '{hf_token: null, "DOCKER_REGISTRY_https://registry.example.org/v1/": null}')
    plan = plan_release(folder)
    release = next(stage for stage in stages(plan) if stage.kind == "release")

    assert "DOCKER_REGISTRY" not in plan.manifest.to_json()
    assert release.values["secrets"] == "hf_token"
    assert unset_secrets(plan, {"HOME": str(tmp_path)}) == ["hf_token"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("word\n", {"word"}),
        ("s3cret", {"s3cret"}),
        ("-----BEGIN-----\nYWJjZGVmZw==\n--\n", {"-----BEGIN-----", "YWJjZGVmZw=="}),
        ("{\n}\n", {"{", "}"}),
    ],
)
def test_what_a_secret_looks_like_in_a_log(value: str, shown: set[str]) -> None:
    """A log is lines: those of a secret that tell something, or all of one that has no such lines."""
    assert shown_as(value) == shown


def test_a_secret_that_is_no_text(tmp_path: Path) -> None:
    """A file that somebody put there by hand is named, and how it is set anew; nothing of it is shown."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "token").write_bytes(b"t0ken\xff")

    with pytest.raises(EngineError, match="The secret token cannot be read: it is no UTF-8") as caught:
        SecretStore(folder).get("token")

    assert "t0ken" not in str(caught.value)
    assert "truss secrets set token" in caught.value.hint
