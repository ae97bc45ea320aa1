"""The secrets a model may read, each looked up when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from truss_server.protocol import SECRET_VARIABLE, SECRETS_FOLDER, SECRETS_VARIABLE


class SecretNotFound(KeyError):  # noqa: N818 - the name models written for Truss catch
    """A secret the model asked for is set nowhere."""

    def __str__(self) -> str:
        return str(self.args[0])


class Secrets(Mapping[str, str]):
    """Name -> value: a file `/secrets/NAME`, else the variable `TRUSS_SECRET_NAME`, else config.yaml's default.

    Args:
        defaults: `secrets` of config.yaml.
        folder: Where secrets are files; without it, what TRUSS_SECRETS_DIR names, else /secrets.
        environ: Environment variables.
    """

    def __init__(
        self,
        defaults: Mapping[str, str | None],
        folder: Path | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._defaults = defaults
        self._folder = folder or Path(environ.get(SECRETS_VARIABLE) or SECRETS_FOLDER)
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        file = self._folder / name
        if "/" not in name and file.is_file():
            return file.read_text(encoding="utf-8").strip()
        value = self._environ.get(SECRET_VARIABLE + name) or self._defaults.get(name)
        if not value:
            raise SecretNotFound(
                f"the secret {name!r} is not set: neither {file} nor {SECRET_VARIABLE}{name} nor a default in "
                f"config.yaml; `truss secrets set {name}` sets it for the next push"
            )
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._defaults)

    def __len__(self) -> int:
        return len(self._defaults)
