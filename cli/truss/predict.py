"""Call a model and print its answer as it is produced."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, BinaryIO, NoReturn
from urllib.parse import urlsplit, urlunsplit

from truss.answer_text import EventErrors, WholeCharacters, error_body_text, pretty_json
from truss.errors import AnswerError, ConnectError, StreamError, UsageError
from truss.excerpt import Mark, excerpt

if TYPE_CHECKING:
    from pathlib import Path

    from truss.client import Answer, HttpClient
    from truss.console import Console

DEFAULT_SECONDS = 300.0
"""How long to wait for an answer to begin, and for each piece of it."""

MOST_ERROR_BYTES = 1 << 20
"""Of an error's body, this much is read."""

EXAMPLE = """truss predict -d '{"prompt": "Hello"}'"""


def read_request(data: str | None, file: str | None, *, cwd: Path, stdin: BinaryIO) -> bytes:
    """Return the body to send: valid JSON, to the byte as it was given.

    Args:
        data: JSON.
        file: Name of a file with JSON, `-` for standard input.
        cwd: What a file's name is relative to.
        stdin: Standard input.

    Raises:
        UsageError: None or both are given, the file cannot be read, or it is no JSON.
    """
    if (data is None) == (file is None):
        problem = "There is nothing to send." if data is None else "Both -d and -f are given."
        raise UsageError(problem, hint=f"Give JSON by -d or a file by -f (- is standard input): {EXAMPLE}")
    if data is not None:
        body, origin = data.encode("utf-8", "surrogateescape"), "-d"
    elif file == "-":
        body, origin = stdin.read(), "standard input"
    else:
        origin = str(file)
        try:
            body = (cwd / origin).read_bytes()
        except OSError as exc:
            raise UsageError(f"{origin} cannot be read: {exc.strerror or exc}.") from exc
    check_json(body, origin)
    return body


def check_json(body: bytes, origin: str) -> None:
    """Raise a `UsageError` that shows the place where a body stops being JSON."""
    hint = f"A shell needs single quotes around JSON: {EXAMPLE}" if origin == "-d" else ""
    try:
        text = body.decode()
        json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError as exc:
        raise UsageError(f"{origin} is no UTF-8 text: byte {exc.start + 1} is wrong.") from exc
    except json.JSONDecodeError as exc:
        place = f"line {exc.lineno}, column {exc.colno}"
        raise UsageError(
            f"{origin} is no JSON: {exc.msg[:1].lower()}{exc.msg[1:]} at {place}.",
            details=excerpt(text, Mark(exc.lineno, exc.colno)),
            hint=hint,
        ) from exc
    except (ValueError, RecursionError) as exc:
        reason = "it is nested too deeply" if isinstance(exc, RecursionError) else str(exc)
        raise UsageError(f"{origin} is no JSON that a server takes: {reason}.", hint=hint) from exc


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is Python's")


def endpoint(url: str) -> str:
    """Return where to send a request: a URL with a path is taken as it is, one without means `/predict`.

    Raises:
        UsageError: It is no URL of HTTP.
    """
    try:
        parts = urlsplit(url)
        well_formed = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        well_formed = False
    if not well_formed:
        raise UsageError(f"{url!r} is no URL to call.", hint="Give one such as http://127.0.0.1:8080.")
    return urlunsplit(parts._replace(path=parts.path if parts.path.strip("/") else "/predict", fragment=""))


def predict(
    client: HttpClient, console: Console, url: str, body: bytes, *, seconds: float, log_hint: str = ""
) -> None:
    """Send a request and print the answer.

    Args:
        client: Sends it.
        console: Prints it.
        url: Where to; see `endpoint`.
        body: JSON.
        seconds: How long to wait for the answer, and for each piece of it.
        log_hint: Where the server's log is, for errors that it explains.

    Raises:
        AnswerError: The answer is not a success.
        StreamError: The answer is not complete; what came was printed.
        ConnectError: There is none.
    """
    try:
        with client.post(endpoint(url), body, seconds=seconds) as answer:
            if not 200 <= answer.status < 300:  # noqa: PLR2004 the successes of HTTP
                raise answer_error(answer, log_hint)
            if answer.content_type == "application/json" and console.data_on_terminal:
                _print_json(answer, console)
            else:
                _print_stream(answer, console)
    except (StreamError, ConnectError) as error:
        error.hint = error.hint or log_hint
        raise


def answer_error(answer: Answer, log_hint: str) -> AnswerError:
    """Return what to say of an answer that is no success."""
    body = b""
    try:
        for chunk in answer.chunks:
            body += chunk
            if len(body) > MOST_ERROR_BYTES:
                break
    except StreamError:
        body += b" [...]"
    retry, location = answer.headers.get("retry-after"), answer.headers.get("location")
    hint = ""
    if retry is not None:
        hint = f"Try again in {retry} s." if retry.isdecimal() else f"Try again after {retry}."
    elif location is not None:
        hint = f"It points to {location}."
    elif answer.status >= 500:  # noqa: PLR2004 the errors of servers
        hint = log_hint
    return AnswerError(
        f"The server answered {answer.status} {answer.reason}".rstrip() + ".",
        details=error_body_text(body),
        hint=hint,
    )


def _print_json(answer: Answer, console: Console) -> None:
    """Print a JSON answer for people."""
    body = b""
    try:
        for chunk in answer.chunks:
            body += chunk
    except StreamError:
        console.print_data(body.decode("utf-8", "replace") + "\n")
        raise
    console.print_data(pretty_json(body) + "\n")


def _print_stream(answer: Answer, console: Console) -> None:
    """Print an answer as it comes, in whole characters."""
    characters = WholeCharacters()
    errors = EventErrors()
    is_events = answer.content_type == "text/event-stream"
    is_text = answer.content_type.startswith("text/")
    last = b""

    def show(piece: bytes) -> None:
        nonlocal last
        if not piece:
            return
        last = piece
        if is_text and console.data_on_terminal:
            console.print_data(piece.decode("utf-8", "replace"))
        else:
            console.print_bytes(piece)
        if is_events:
            errors.feed(piece.decode("utf-8", "replace"))

    count = 0
    try:
        for chunk in answer.chunks:
            count += len(chunk)
            show(characters.feed(chunk))
    except StreamError as exc:
        if errors.text:
            raise _told(errors.text, count) from exc
        raise
    finally:
        show(characters.feed(b"", final=True))
        # On a terminal what follows begins on a line of its own.
        if console.data_on_terminal and last and not last.endswith(b"\n"):
            console.print_data("\n")
    if errors.text:
        raise _told(errors.text, count)


def _told(text: str, count: int) -> StreamError:
    """Return the error of a stream whose server told of it."""
    return StreamError(f"The stream ended with an error after {count} bytes.", details=text)
