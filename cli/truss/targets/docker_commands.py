"""Runs build commands where there is no BuildKit: each in a container, of which an image is made.

The engine's first builder mounts nothing, and whatever it copies is in a layer. What is mounted in a container is in
no image that is made of it.
"""

from __future__ import annotations

import codecs
import json
import shlex
import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from docker.types import LogConfig, Mount

from truss.errors import EngineError
from truss.images import BASE_LABEL, BUILD_LABEL, PARENT_LABEL
from truss.indexes import PROXIES, redactor
from truss.pip_settings import BESIDE, FOLDER, SETTINGS, UV_ENV
from truss.stages import BUILD_ARG
from truss.targets.build_output import SHOWN_LINES, Lines, failure
from truss.targets.buildkit import SILENCE_LIMIT_SECONDS
from truss.targets.docker_engine import CALL_LIMIT_SECONDS, FOREIGN, engine_errors, hearing, is_podman

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import docker

    from truss.images import Image
    from truss.pip_settings import PipSettings
    from truss.progress import Progress
    from truss.targets.docker_owned import Owner


def run_commands(
    client: docker.APIClient,
    image: Image,
    settings: PipSettings,
    arguments: Mapping[str, str],
    progress: Progress,
    *,
    mine: Owner,
) -> None:
    """Make an image by running its commands, and tag it.

    Args:
        client: Of the engine.
        image: What to make.
        settings: Are mounted while a command runs.
        arguments: Proxies, and what the containers are found by.
        progress: Is told what the commands say.
        mine: Has the settings, and the containers.

    Raises:
        BuildError: A command failed; its last lines are shown.
        EngineError: A command said nothing for too long.
    """
    with engine_errors(image.purpose):
        mounts = list(_mounts(image, settings, arguments, mine.folder))
        commands = _Commands(client, image, settings, arguments[BUILD_ARG], progress, mine=mine)
        for number, command in enumerate(image.commands):
            commands.run(command, mounts, number)
        if image.tidy:
            commands.run(image.tidy, ())
        commands.tag()


class _Commands:
    """Runs commands, each in what the one before has left.

    Args:
        client: Of the engine.
        image: What is made.
        settings: Whose passwords are not to be shown.
        build_id: Label of the containers.
        progress: Is told what they say.
        mine: Whose the containers are.
    """

    def __init__(
        self,
        client: docker.APIClient,
        image: Image,
        settings: PipSettings,
        build_id: str,
        progress: Progress,
        *,
        mine: Owner,
    ) -> None:
        self._owner = mine
        self._client = client
        self._image = image
        self._settings = settings
        self._progress = progress
        self._labels = {BUILD_LABEL: build_id, PARENT_LABEL: image.parent}
        parent = client.inspect_image(image.parent)  # type: ignore[no-untyped-call]
        self._config = parent["Config"]
        base = {} if image.needs else {BASE_LABEL: parent["Id"]}  # of others it is there
        self._config["Labels"] = {**(self._config.get("Labels") or {}), **self._labels, **base}
        # Podman takes no configuration, and gives the image that of the container but for these.
        kept = [f"{key.upper()} {json.dumps(self._config.get(key) or [])}" for key in ("Entrypoint", "Cmd")]
        self._changes = [*kept, f"USER {self._config.get('User') or 'root'}"] if is_podman(client) else None
        self._made = image.parent

    def run(self, command: Sequence[str], mounts: Iterable[Mount], number: int | None = None) -> None:
        """Run a command and keep what it makes.

        Args:
            command: Its words.
            mounts: What it has beside the image.
            number: Of the user's commands, from 0, where it is one.

        Raises:
            BuildError: It failed.
            EngineError: It said nothing for too long.
        """
        container = self._client.create_container(
            self._made,
            list(command[1:]),
            entrypoint=[command[0]],
            user="root",
            working_dir="/app",
            name=self._owner.container,
            labels=self._labels,  # these and its environment become the image's
            use_config_proxy=False,
            # The engine's log would keep what a command says, a secret perhaps.
            host_config=self._client.create_host_config(
                mounts=list(mounts), log_config=LogConfig(type=LogConfig.types.NONE)
            ),
        )["Id"]
        said = self._follow(container)
        if (code := self._client.wait(container, timeout=CALL_LIMIT_SECONDS)["StatusCode"]) != 0:
            raise failure(self._image, self._settings, said, code, number)
        with _patience(self._client):
            made = self._client.commit(container, conf=self._config, changes=self._changes)
            self._made = made["Id"]
        self._client.remove_container(container, v=True)

    def tag(self) -> None:
        """Give the image its name."""
        name, _, tag = self._image.tag.partition(":")
        self._client.tag(self._made, name, tag)

    def _follow(self, container: str) -> Sequence[str]:
        """Start a container, read what it says to its end, and return the last lines of that."""
        lines = Lines(redactor(self._settings.secrets))
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        said: deque[str] = deque(maxlen=SHOWN_LINES)
        attached = self._client.attach(container, stream=True)
        with hearing(attached) as stream, _never_silent(lambda: self._client.kill(container)) as heard:
            self._client.start(container)
            for piece in stream:
                heard()
                self._show(said, lines.feed(decoder.decode(piece)))
        self._show(said, lines.rest())
        return said

    def _show(self, said: deque[str], lines: Iterable[str]) -> None:
        """Keep lines, and tell of those that say something."""
        for line in filter(None, lines):
            said.append(line)
            self._progress.detail(line)


@contextmanager
def _never_silent(end: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Give what is called whenever something is heard; end it all when that is too long ago.

    Raises:
        EngineError: It was.
    """
    heard, over = threading.Event(), threading.Event()
    silent: list[bool] = []

    def watch() -> None:
        while heard.wait(SILENCE_LIMIT_SECONDS):
            heard.clear()
            if over.is_set():
                return
        silent.append(True)
        with suppress(*FOREIGN):  # it ended meanwhile
            end()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield heard.set
    finally:
        over.set()
        heard.set()
        watcher.join(CALL_LIMIT_SECONDS)
    if silent:
        raise EngineError(f"The build said nothing for {SILENCE_LIMIT_SECONDS / 60:.0f} minutes.")


@contextmanager
def _patience(client: docker.APIClient) -> Iterator[None]:
    """Let a call take as long as a build may: gigabytes are written."""
    client.timeout = SILENCE_LIMIT_SECONDS
    try:
        yield
    finally:
        client.timeout = CALL_LIMIT_SECONDS


def _mounts(
    image: Image, settings: PipSettings, arguments: Mapping[str, str], folder: Path
) -> Iterator[Mount]:
    """Write what is mounted to a folder that only we can look into, and yield how it is mounted."""
    settings.write(folder)
    known = {name for upper in PROXIES for name in (upper, upper.lower())}
    said = [f"export {name}={shlex.quote(arguments[name])}\n" for name in sorted(known & arguments.keys())]
    # As variables of the container they would become some of the image.
    with (folder / FOLDER / UV_ENV).open("a", encoding="utf-8") as file:
        file.writelines(said)
    # The user of a container may be nobody here, so that what is mounted may be read by all.
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o444)
    yield Mount(str(SETTINGS), str(folder / FOLDER), type="bind", read_only=True)
    yield Mount(str(BESIDE / "cache"), None, type="volume")  # of uv, as BuildKit mounts one
    for name, target in image.secrets.items():
        yield Mount(target, str(folder / "secrets" / name), type="bind", read_only=True)
