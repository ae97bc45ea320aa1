"""`truss predict` against a real server on loopback that splits characters and breaks streams."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.harness import TRUSS, Outcome, run_truss
from tests.scripted_server import SECONDS, Exchange, scripted
from truss.deps import Deps
from truss.errors import EngineError
from truss.predict import endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from truss.targets import Target

LOG_HINT = "hint: The log of the server there shows what happened."


def no_target(name: str) -> Target:
    """Be a machine without targets."""
    raise EngineError(f"no {name} here")


def predict(*args: str, stdin: str | bytes | None = None, cwd: Path = Path("/")) -> Outcome:
    """Run `truss predict` where nothing is deployed."""
    return run_truss("predict", *args, deps=Deps(target=no_target, cwd=cwd), stdin=stdin)


def answer_with(script: Callable[[Exchange], None], *args: str) -> Outcome:
    """Run `truss predict -d '{}'` against a script."""
    with scripted(script) as server:
        outcome = predict("-d", "{}", "--url", server.url, *args)
        # The port differs from run to run.
        return Outcome(outcome.stdout, outcome.stderr.replace(server.url, "URL"), outcome.code)


def test_json_goes_raw_into_a_pipe() -> None:
    """What is no terminal gets the answer's bytes, nothing added."""
    outcome = answer_with(lambda to: to.answer("200 OK", "application/json", b'{"output":  "caf\xc3\xa9"}'))

    assert outcome == Outcome(stdout='{"output":  "café"}')


@pytest.mark.parametrize(
    "body", [b'{"prompt":"Hello"}', b' {"a" : 1.50, "b": "\xc3\xa9"}\n', b'"text"', b"[1e400]"]
)
def test_body_is_sent_as_given(body: bytes) -> None:
    """The server gets the bytes of the user: no number, blank or letter is written anew."""
    with scripted(lambda to: to.answer("200 OK", "application/json", b"1")) as server:
        outcome = predict("-f", "-", "--url", server.url, stdin=body)

    (exchange,) = server.exchanges
    assert outcome == Outcome(stdout="1")
    assert exchange.line == "POST /predict HTTP/1.1"
    assert exchange.body == body
    assert exchange.headers["content-type"] == "application/json"


def test_file(tmp_path: Path) -> None:
    """`-f` reads a file of the current folder."""
    (tmp_path / "request.json").write_text('{"prompt": "Hello"}\n')

    with scripted(lambda to: to.answer("200 OK", "text/plain", to.body)) as server:
        outcome = predict("-f", "request.json", "--url", server.url, cwd=tmp_path)

    assert outcome == Outcome(stdout='{"prompt": "Hello"}\n')


def test_url_with_a_path() -> None:
    """A URL that has a path is called as it is."""
    with scripted(lambda to: to.answer("200 OK", "text/plain", to.line.encode())) as server:
        outcome = predict("-d", "{}", "--url", f"{server.url}/v1/chat/completions?a=b")

    assert outcome == Outcome(stdout="POST /v1/chat/completions?a=b HTTP/1.1")


def test_split_characters() -> None:
    """Characters that are split over chunks, one of them over four, arrive whole."""
    text = "naïve 🦅 隼 falcon"

    def script(to: Exchange) -> None:
        to.head("200 OK", "text/plain; charset=utf-8")
        to.chunk(*(bytes([byte]) for byte in text.encode()))
        to.end()

    assert answer_with(script) == Outcome(stdout=text)


def test_chunks_appear_as_they_come() -> None:
    """Each chunk is on stdout before the next is produced, and a pipe never sees half a character."""
    seen = threading.Event()

    def script(to: Exchange) -> None:
        to.head("200 OK", "text/plain")
        for chunk in (b"one ", b"caf\xc3", b"\xa9 "):
            to.chunk(chunk)
            if chunk != b"caf\xc3":
                assert seen.wait(SECONDS)
                seen.clear()
        to.end()

    with scripted(script) as server:
        command = [TRUSS, "predict", "-d", "{}", "--url", server.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
            assert process.stdout
            pieces = []
            while piece := process.stdout.read(100):
                pieces.append(piece)
                if b"\xa9" in piece or b"one" in piece:
                    seen.set()
            assert process.wait(SECONDS) == 0

    assert b"".join(pieces) == "one café ".encode()
    assert pieces[0] == b"one "
    for piece in pieces:
        piece.decode()


def test_bytes_that_are_no_text() -> None:
    """An image or a sound arrives to the byte."""
    body = bytes(range(256)) * 4

    with scripted(lambda to: to.answer("200 OK", "application/octet-stream", body)) as server:
        done = subprocess.run(
            [TRUSS, "predict", "-d", "{}", "--url", server.url], capture_output=True, timeout=60, check=True
        )

    assert (done.stdout, done.stderr) == (body, b"")


def test_server_error() -> None:
    """The status, the server's words and the traceback are shown; nothing is on stdout."""
    body = {
        "error": "ValueError: no prompt",
        "traceback": 'Traceback (most recent call last):\n  File "model/model.py", line 3\nValueError: no prompt\n',
    }

    outcome = answer_with(
        lambda to: to.answer("500 Internal Server Error", "application/json", json.dumps(body).encode())
    )

    assert outcome == Outcome(
        stderr=(
            "error: The server answered 500 Internal Server Error.\n"
            "Traceback (most recent call last):\n"
            '  File "model/model.py", line 3\n'
            "ValueError: no prompt\n"
            "\n"
            "hint: The log of the server there shows what happened.\n"
        ),
        code=8,
    )


def test_busy_server() -> None:
    """An overloaded server's advice when to come back is passed on."""
    outcome = answer_with(
        lambda to: to.answer(
            "429 Too Many Requests", "application/json", b'{"error": "the queue is full"}', "retry-after: 7"
        )
    )

    assert outcome == Outcome(
        stderr=(
            "error: The server answered 429 Too Many Requests.\nthe queue is full\n\nhint: Try again in 7 s.\n"
        ),
        code=8,
    )


def test_retry_after_a_date() -> None:
    """Retry-After may be a date."""
    date = "Wed, 21 Oct 2026 07:28:00 GMT"

    outcome = answer_with(
        lambda to: to.answer("503 Service Unavailable", "text/plain", b"not ready", f"retry-after: {date}")
    )

    assert outcome == Outcome(
        stderr=f"error: The server answered 503 Service Unavailable.\nnot ready\n\nhint: Try again after {date}.\n",
        code=8,
    )


def test_redirect_is_no_success() -> None:
    """A redirect is shown, not followed: the body would go to somebody else."""
    outcome = answer_with(
        lambda to: to.answer("307 Temporary Redirect", "text/plain", b"", "location: http://other/predict")
    )

    assert outcome == Outcome(
        stderr=(
            "error: The server answered 307 Temporary Redirect.\n\nhint: It points to http://other/predict.\n"
        ),
        code=8,
    )


def test_error_body_that_breaks() -> None:
    """What is there of an error is shown although its body broke."""

    def script(to: Exchange) -> None:
        to.head("500 Internal Server Error", "text/plain")
        to.chunk(b"out of mem")
        to.reset()

    outcome = answer_with(script)

    assert outcome == Outcome(
        stderr=(
            "error: The server answered 500 Internal Server Error.\nout of mem [...]\n\n"
            "hint: The log of the server there shows what happened.\n"
        ),
        code=8,
    )


def test_endless_error_body() -> None:
    """Of an error's body only so much is read, and less is shown."""

    def script(to: Exchange) -> None:
        to.head("500 Internal Server Error", "text/plain")
        while True:
            to.chunk(b"x" * 65536)

    outcome = answer_with(script)

    assert outcome.code == 8
    assert len(outcome.stderr) < 17_000
    assert "characters cut]\n" in outcome.stderr


def test_escape_sequences_of_a_server_are_not_obeyed() -> None:
    """An error cannot clear the user's screen."""
    outcome = answer_with(lambda to: to.answer("400 Bad Request", "text/plain", b"\x1b[2Jno\x07 prompt"))

    assert outcome == Outcome(stderr="error: The server answered 400 Bad Request.\nno prompt\n", code=8)


def test_aborted_stream() -> None:
    """Chunks before the break are printed, and the exit code tells that there should have been more."""

    def script(to: Exchange) -> None:
        to.head("200 OK", "text/plain")
        to.chunk(b"The falcon ", b"is \xf0\x9f")

    outcome = answer_with(script)

    assert outcome.stdout == "The falcon is \ufffd"
    assert outcome.stderr == (
        "error: The answer broke off after 16 bytes: the model failed, or its process ended.\n"
        "peer closed connection without sending complete message body (incomplete chunked read)\n"
        "\n"
        "hint: The log of the server there shows what happened.\n"
    )
    assert outcome.code == 9


def test_reset_stream() -> None:
    """A connection that is reset is a broken stream too."""

    def script(to: Exchange) -> None:
        to.head("200 OK", "application/octet-stream")
        to.chunk(b"12345")
        to.reset()

    outcome = answer_with(script)

    assert outcome.code == 9
    assert outcome.stderr.startswith("error: The answer broke off after ")


def test_short_body() -> None:
    """A body that is shorter than its announced length is a broken stream."""
    outcome = answer_with(lambda to: to.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345"))

    assert outcome == Outcome(
        stdout="12345",
        stderr=(
            "error: The answer broke off after 5 bytes: the model failed, or its process ended.\n"
            "peer closed connection without sending complete message body (received 5 bytes, expected 10)\n"
            "\n"
            "hint: The log of the server there shows what happened.\n"
        ),
        code=9,
    )


def test_stalled_stream() -> None:
    """A stream in which nothing comes for too long is given up."""
    done = threading.Event()

    def script(to: Exchange) -> None:
        to.head("200 OK", "text/plain")
        to.chunk(b"one")
        done.wait(SECONDS)

    with scripted(script) as server:
        outcome = predict("-d", "{}", "--url", server.url, "--timeout", "0.2")
        done.set()

    assert outcome == Outcome(
        stdout="one",
        stderr=(
            "error: The stream stalled after 3 bytes: nothing came for 0.2 s.\n\n"
            "hint: --timeout SECONDS waits longer.\n"
        ),
        code=9,
    )


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (
            b'data: {"error": {"message": "CUDA out of memory", "type": "api_error"}}\n\n',
            "CUDA out of memory",
        ),
        (
            b'event: error\r\ndata: {"type": "error", "error": {"message": "too long"}}\r\n\r\n',
            "too long",
        ),
        (b'event: error\ndata: {"type": "error", "code": "server_error", "message": "lost"}\n\n', "lost"),
        (b"event: error\ndata: plain words\n\n", "plain words"),
    ],
)
@pytest.mark.parametrize("ends", ["cleanly", "abruptly"])
def test_error_inside_of_events(frame: bytes, said: str, ends: str) -> None:
    """An error that the server sends as an event counts, however the stream ends, and in any split."""
    first = b'data: {"choices": [{"delta": {"content": "The"}}]}\n\n'

    def script(to: Exchange) -> None:
        to.head("200 OK", "text/event-stream")
        to.chunk(first, *(bytes([byte]) for byte in frame))
        if ends == "cleanly":
            to.end()

    outcome = answer_with(script)

    assert outcome == Outcome(
        stdout=(first + frame).decode().replace("\r\n", "\n"),
        stderr=f"error: The stream ended with an error after {len(first + frame)} bytes.\n{said}\n\n{LOG_HINT}\n",
        code=9,
    )


def test_events_without_an_error() -> None:
    """Events that hold the word, or no JSON, are no errors."""
    body = b'event: note\ndata: error\n\ndata: {"error": null}\n\n: error\n\ndata: [DONE]\n\n'

    assert answer_with(lambda to: to.answer("200 OK", "text/event-stream", body)) == Outcome(
        stdout=body.decode()
    )


def test_nobody_answers() -> None:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    outcome = predict("-d", "{}", "--url", url)

    assert outcome == Outcome(
        stderr=(
            f"error: Nobody answers at {url}/predict.\n[Errno 111] Connection refused\n\n"
            "hint: `truss list` shows what is deployed.\n"
        ),
        code=10,
    )


def test_connection_lost_before_the_answer() -> None:
    """A server that closes the connection without a word."""
    outcome = answer_with(lambda _: None)

    assert outcome == Outcome(
        stderr=(
            "error: The connection to URL/predict was lost before the answer.\n"
            "Server disconnected without sending a response.\n\n"
            "hint: The log of the server there shows what happened.\n"
        ),
        code=10,
    )


def test_no_answer_in_time() -> None:
    """A server that never begins to answer."""
    done = threading.Event()

    def script(_: Exchange) -> None:
        done.wait(SECONDS)

    with scripted(script) as server:
        outcome = predict("-d", "{}", "--url", server.url, "--timeout", "0.2")
        done.set()

    assert outcome == Outcome(
        stderr=(
            f"error: No answer came from {server.url}/predict within 0.2 s.\n\nhint: --timeout SECONDS waits longer.\n"
        ),
        code=10,
    )


def test_loopback_goes_past_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment gets no request to this machine; requests to others go to it."""
    with scripted(lambda to: to.answer("200 OK", "text/plain", f"proxied {to.line}".encode())) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with scripted(lambda to: to.answer("200 OK", "text/plain", b"direct")) as server:
            direct = predict("-d", "{}", "--url", server.url)
            named = predict("-d", "{}", "--url", server.url.replace("127.0.0.1", "localhost"))
        other = predict("-d", "{}", "--url", "http://models.invalid")

    assert direct == named == Outcome(stdout="direct")
    assert other == Outcome(stdout="proxied POST http://models.invalid/predict HTTP/1.1")


def test_wrong_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy setting that makes no sense is named as what is wrong."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "gopher://x")

    outcome = predict("-d", "{}", "--url", "http://models.invalid")

    assert outcome.stderr.startswith("error: The settings for proxies or certificates are wrong: ")
    assert outcome.code == 2


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:80", "ftp://x", "http://", "http://x:0", "http://[::1", "http://x:99999"]
)
def test_no_url(url: str) -> None:
    """What is no URL is refused before any network use."""
    expected = Outcome(
        stderr=f"error: {url!r} is no URL to call.\n\nhint: Give one such as http://127.0.0.1:8080.\n", code=2
    )

    assert predict("-d", "{}", "--url", url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h:1", "http://h:1/predict"),
        ("http://h:1/", "http://h:1/predict"),
        ("http://h:1?a=b", "http://h:1/predict?a=b"),
        ("https://h/v1/chat/completions#x", "https://h/v1/chat/completions"),
    ],
)
def test_endpoint(url: str, expected: str) -> None:
    """Only a URL without a path gets one."""
    assert endpoint(url) == expected


NOTHING = """\
error: There is nothing to send.

hint: Give JSON by -d or a file by -f (- is standard input): truss predict -d '{"prompt": "Hello"}'
"""


def test_nothing_to_send() -> None:
    """One of -d and -f is needed, also when standard input is a pipe."""
    assert predict(stdin="{}") == Outcome(stderr=NOTHING, code=2)


def test_both_given() -> None:
    """Two requests are one too many."""
    expected = NOTHING.replace("There is nothing to send.", "Both -d and -f are given.")

    assert predict("-d", "{}", "-f", "x") == Outcome(stderr=expected, code=2)


def test_file_is_missing(tmp_path: Path) -> None:
    """A file that cannot be read is named."""
    assert predict("-f", "x.json", cwd=tmp_path) == Outcome(
        stderr="error: x.json cannot be read: No such file or directory.\n", code=2
    )


def test_bad_json() -> None:
    """JSON that is none is refused with its place, before any network use."""
    assert predict("-d", "{'prompt': 1}", "--url", "http://127.0.0.1:1") == Outcome(
        stderr=(
            "error: -d is no JSON: expecting property name enclosed in double quotes at line 1, column 2.\n"
            "  1 | {'prompt': 1}\n"
            "    |  ^\n"
            "\n"
            'hint: A shell needs single quotes around JSON: truss predict -d \'{"prompt": "Hello"}\'\n'
        ),
        code=2,
    )


def test_bad_json_in_a_file() -> None:
    """The place in a file of many lines, the excerpt cut to what fits a terminal."""
    text = '{\n  "a": 1,\n  "prompt": ' + "x" * 100 + "\n}"

    assert predict("-f", "-", stdin=text) == Outcome(
        stderr=(
            "error: standard input is no JSON: expecting value at line 3, column 13.\n"
            f'  3 |   "prompt": {"x" * 87}…\n'
            "    |             ^\n"
        ),
        code=2,
    )


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"a": NaN}', "standard input is no JSON that a server takes: NaN is Python's."),
        (b"[" * 100_000, "standard input is no JSON that a server takes: it is nested too deeply."),
        (b'"caf\xe9"', "standard input is no UTF-8 text: byte 5 is wrong."),
        (b"", "standard input is no JSON: expecting value at line 1, column 1.\n  1 | \n    | ^"),
    ],
)
def test_json_no_server_takes(body: bytes, problem: str) -> None:
    """What Python alone would take for JSON is refused here rather than by the server."""
    assert predict("-f", "-", stdin=body) == Outcome(stderr=f"error: {problem}\n", code=2)


def test_not_a_package(tmp_path: Path) -> None:
    """Without a model's name the current folder must be a package."""
    assert predict("-d", "{}", cwd=tmp_path) == Outcome(
        stderr=(
            "error: This folder is no package: it has no config.yaml.\n\n"
            "hint: Change into one, or name a model by --model.\n"
        ),
        code=2,
    )


def on_terminal(script: Callable[[Exchange], None]) -> tuple[str, int]:
    """Run `truss predict` on a terminal; return what it shows and its exit code."""
    with scripted(script) as server:
        child = pexpect.spawn(
            TRUSS, ["predict", "-d", "{}", "--url", server.url], timeout=SECONDS, encoding="utf-8"
        )
        child.expect(pexpect.EOF)
        child.close()
        assert isinstance(child.before, str)
        return child.before.replace("\r\n", "\n"), int(child.exitstatus or 0)


def test_json_is_pretty_on_a_terminal() -> None:
    """A person gets JSON with indents, letters as letters."""
    shown = on_terminal(lambda to: to.answer("200 OK", "application/json", b'{"output":["caf\xc3\xa9",1]}'))

    assert shown == ('{\n  "output": [\n    "café",\n    1\n  ]\n}\n', 0)


def test_text_ends_with_a_newline_on_a_terminal() -> None:
    """The prompt of the shell does not stick to the answer."""
    assert on_terminal(lambda to: to.answer("200 OK", "text/plain", b"The falcon")) == ("The falcon\n", 0)
    assert on_terminal(lambda to: to.answer("200 OK", "text/plain", b"The falcon\n")) == ("The falcon\n", 0)
    assert on_terminal(lambda to: to.answer("200 OK", "text/plain", b"\xff")) == ("\ufffd\n", 0)


def test_broken_stream_on_a_terminal() -> None:
    """The error begins on a line of its own."""

    def script(to: Exchange) -> None:
        to.head("200 OK", "text/plain")
        to.chunk(b"The falcon")

    shown, code = on_terminal(script)

    assert shown.startswith(
        "The falcon\nerror: The answer broke off after 10 bytes: the model failed, or its process ended.\n"
    )
    assert code == 9


def test_broken_json_on_a_terminal() -> None:
    """What came of JSON is shown as it came."""

    def script(to: Exchange) -> None:
        to.head("200 OK", "application/json")
        to.chunk(b'{"output": "The')

    shown, code = on_terminal(script)

    assert shown.startswith(
        '{"output": "The\nerror: The answer broke off after 15 bytes: the model failed, or its process ended.\n'
    )
    assert code == 9


def test_interrupt_in_a_stream() -> None:
    """Ctrl-C ends at once with 130 and a line, and the server sees the client go."""
    gone = threading.Event()

    def script(to: Exchange) -> None:
        to.head("200 OK", "text/plain")
        to.chunk(b"The falcon")
        if to.connection.recv(1) == b"":
            gone.set()

    with scripted(script) as server:
        child = pexpect.spawn(
            TRUSS, ["predict", "-d", "{}", "--url", server.url], timeout=SECONDS, encoding="utf-8"
        )
        child.expect_exact("The falcon")
        child.sendintr()
        child.expect(pexpect.EOF)
        child.close()
        assert gone.wait(SECONDS)

    assert "interrupted" in str(child.before)
    assert child.exitstatus == 130
