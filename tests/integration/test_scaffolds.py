"""Each scaffold on the real local target and server, called as its README says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import openai
import pexpect
import pytest

from tests.harness import TRUSS, Outcome, run_truss, spawn_truss
from tests.helpers import wait_until
from truss.scaffold import TEMPLATES, plan_scaffold, write_scaffold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 60


@dataclass(frozen=True)
class Deployed:
    """A package that was pushed.

    Attributes:
        package: Its folder.
        environ: What finds it.
        url: Where it answers.
    """

    package: Path
    environ: dict[str, str]
    url: str

    def truss(self, *args: str) -> Outcome:
        """Run `truss` in the package."""
        return spawn_truss(*args, environ=self.environ, cwd=self.package)

    def predict(self, data: str) -> Outcome:
        """Call it without a process of its own."""
        return run_truss("predict", "-d", data, "--url", self.url)


@contextmanager
def deployed(template: str, root: Path) -> Iterator[Deployed]:
    """Push a scaffold to the local target; stop it at the end."""
    package = root / "falcon-7b"
    environ = {"TRUSS_HOME": str(root / "home"), "DOCKER_HOST": "unix:///nonexistent.sock"}
    write_scaffold(plan_scaffold(template, package.name), package)
    pushed = spawn_truss("push", "--output", "json", environ=environ, cwd=package)
    assert pushed.code == 0, pushed
    one = Deployed(package, environ, json.loads(pushed.stdout)["url"])
    try:
        yield one
    finally:
        assert one.truss("stop").code == 0


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """Give a client of a deployed chat scaffold."""
    with (
        deployed("chat", tmp_path_factory.mktemp("chat")) as one,
        openai.OpenAI(base_url=f"{one.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


def test_basic(tmp_path: Path) -> None:
    """The basic scaffold answers its example with JSON."""
    with deployed("basic", tmp_path) as one:
        outcome = one.truss("predict", "-d", TEMPLATES["basic"].example)
        failed = one.predict("{}")

    assert outcome.code == 0, outcome
    assert json.loads(outcome.stdout) == {"output": "You said: Hello"}
    assert failed == Outcome(
        stderr=(
            "error: The server answered 500 Internal Server Error.\n"
            "the model raised KeyError; its log has the traceback\n"
            "\n"
            "hint: The log of the server there shows what happened.\n"
        ),
        code=8,
    )


def test_streaming(tmp_path: Path) -> None:
    """The streaming scaffold's words arrive one by one; the same seed gives the same ones."""
    request = '{"prompt": "Tell me about falcons", "seed": 5, "max_words": 12}'
    with deployed("streaming", tmp_path) as one:
        command = [TRUSS, "predict", "-d", request]
        environ = {**os.environ, **one.environ}
        arrivals = []
        with subprocess.Popen(
            command, cwd=one.package, env=environ, stdout=subprocess.PIPE, bufsize=0
        ) as process:
            assert process.stdout
            while piece := process.stdout.read(1000):
                arrivals.append((time.monotonic(), piece))
        again = one.predict(request)

    assert process.returncode == 0
    assert b"".join(piece for _, piece in arrivals).decode() == again.stdout
    assert len(again.stdout.replace(".", " .").split()) == 12
    assert len(arrivals) >= 6
    assert arrivals[-1][0] - arrivals[0][0] > 0.3


def test_chat(chat: openai.OpenAI) -> None:
    """OpenAI's own client reads a plain answer."""
    answer = chat.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello falcon"}])

    assert answer.choices[0].message.content == "You said: Hello falcon"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage
    assert answer.usage.total_tokens == 6


def test_chat_streams(chat: openai.OpenAI) -> None:
    """OpenAI's own client reads a stream: the role first, then words, then the end and the usage."""
    with chat.chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": [{"type": "text", "text": "Hello falcon"}]}],
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)

    assert chunks[0].choices[0].delta.role == "assistant"
    words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert words == ["", "You", " said:", " Hello", " falcon", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


def test_chat_refuses(chat: openai.OpenAI) -> None:
    """A request without messages is an error that OpenAI's client raises."""
    with pytest.raises(openai.InternalServerError, match="the model raised KeyError"):
        chat.post("/chat/completions", body={}, cast_to=object)


def test_embeddings(tmp_path: Path) -> None:
    """OpenAI's own client gets vectors: equal as numbers and as base64, near for texts that share words."""
    with (
        deployed("embeddings", tmp_path) as one,
        openai.OpenAI(base_url=f"{one.url}/v1", api_key="none", max_retries=0) as client,
    ):
        texts = ["The falcon is fast", "the falcon is white", "no word in common", ""]
        packed = client.embeddings.create(model="m", input=texts, dimensions=128)
        plain = client.embeddings.create(model="m", input=texts, dimensions=128, encoding_format="float")
        tokens = client.embeddings.create(model="m", input=[1, 2, 3])
        predicted = one.predict(TEMPLATES["embeddings"].example)

    vectors = [item.embedding for item in plain.data]
    assert [item.embedding for item in packed.data] == [pytest.approx(vector) for vector in vectors]
    assert [round(product(vector, vector), 6) for vector in vectors] == [1, 1, 1, 0]
    assert product(vectors[0], vectors[1]) > 0.5 > product(vectors[0], vectors[2])
    assert [len(item.embedding) for item in tokens.data] == [256]
    assert plain.usage.prompt_tokens == 12
    assert json.loads(predicted.stdout)["object"] == "list"


def product(one: list[float], other: list[float]) -> float:
    """Return the inner product of two vectors."""
    return sum(a * b for a, b in zip(one, other, strict=True))


SLOW_MODEL = """
import os, time
class Model:
    def load(self):
        print("worker", os.getpid(), flush=True)
        time.sleep(600)
    def predict(self, request):
        return request
"""


def test_interrupt_while_loading(tmp_path: Path) -> None:
    """Ctrl-C on a terminal while the model loads: the cursor is back, one line, 130, and no process is left."""
    package = tmp_path / "slow"
    environ = {**os.environ, "TRUSS_HOME": str(tmp_path / "home")}
    write_scaffold(plan_scaffold("basic", "slow"), package)
    (package / "model/model.py").write_text(SLOW_MODEL)

    child = pexpect.spawn(
        TRUSS,
        ["push", "--target", "local"],
        cwd=str(package),
        env=environ,
        timeout=SECONDS,
        encoding="utf-8",
        dimensions=(24, 80),
    )
    child.expect(r"worker (\d+)")
    assert isinstance(child.match, re.Match)
    worker = int(child.match[1])
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()

    shown = str(child.before)
    assert re.search(r"✗ .*wait until ready .* s.* \(interrupted\)", shown)
    assert shown.rstrip().endswith("interrupted")
    assert "\x1b[?25h" in shown
    assert child.exitstatus == 130
    wait_until(lambda: not is_alive(worker), what="the end of the worker")


def is_alive(pid: int) -> bool:
    """Return whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_load_that_raises(tmp_path: Path) -> None:
    """A model whose load raises: the author's traceback and nothing of the server's, exit code 5."""
    package = tmp_path / "broken"
    write_scaffold(plan_scaffold("basic", "broken"), package)
    source = (package / "model/model.py").read_text()
    (package / "model/model.py").write_text(
        source.replace('self._greeting = "You said"', 'raise ValueError("no weights")')
    )

    outcome = spawn_truss(
        "push", "--target", "local", environ={"TRUSS_HOME": str(tmp_path / "home")}, cwd=package
    )

    *_, error = outcome.stderr.partition("error: ")
    assert error == (
        "wait until ready failed: The model could not be loaded: ValueError: no weights\n"
        "Traceback (most recent call last):\n"
        '  File "model/model.py", line 16, in load\n'
        '    raise ValueError("no weights")\n'
        "ValueError: no weights\n"
        "\n"
        "hint: Correct it and push again.\n"
    )
    assert (outcome.stdout, outcome.code) == ("", 5)
