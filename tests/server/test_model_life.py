"""The life of a model: what it is made with, what it can import, how it is loaded and let go."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from truss_server.worker.secrets import SecretNotFound, Secrets

if TYPE_CHECKING:
    from tests.server.harness import Servers

ALL = ("config", "data_dir", "secrets", "environment")


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("self", []),
        ("self, **kwargs", list(ALL)),
        ("self, config, secrets", ["config", "secrets"]),
        ("self, *, data_dir, own=1", ["data_dir"]),
        ("self, environment=None, lazy=None, **kwargs", list(ALL)),
    ],
)
def test_init_gets_what_it_declares(servers: Servers, signature: str, expected: list[str]) -> None:
    """`__init__` receives those of config, data_dir, secrets and environment that it names, or all."""
    edge = servers.start(
        f"class Model:\n    def __init__({signature}):\n"
        "        given = {k: v for k, v in locals().items() if k not in ('self', 'kwargs', 'own', 'lazy')}\n"
        "        self.given = sorted({**given, **locals().get('kwargs', {})})\n"
        "    def predict(self, x):\n        return self.given\n"
    )

    assert edge.call(0) == sorted(expected)


def test_values_of_init(servers: Servers) -> None:
    """The config is complete, the data folder absolute and there, the environment named."""
    edge = servers.start(
        "class Model:\n    def __init__(self, config, data_dir, environment):\n"
        "        self.given = [config['model_name'], config['runtime']['max_queue'], data_dir.is_absolute(),"
        " (data_dir / 'a.txt').read_text(), environment,"
        " open('data/a.txt').read()]\n    def predict(self, x):\n        return self.given\n",
        files={"data/a.txt": "data"},
        environment="staging",
    )

    assert edge.call(0) == ["tested", 1024, True, "data", {"name": "staging"}, "data"]


def test_init_that_asks_for_more(servers: Servers) -> None:
    """An unknown argument is named, with those there are."""
    edge = servers.start(
        "class Model:\n    def __init__(self, config, weights):\n        pass\n"
        "    def predict(self, x):\n        return x\n",
        ready=False,
    )

    assert edge.wait_exit() == 3
    assert "asks for weights; it can have config, data_dir, secrets, environment" in edge.log_text()


SECRETS = """
from collections.abc import Mapping


class Model:
    def __init__(self, secrets):
        self.secrets = secrets

    def predict(self, name):
        if name == "all":
            return [isinstance(self.secrets, Mapping), sorted(self.secrets), "token" in self.secrets]
        if name == "get":
            return self.secrets.get("unset", "default")
        try:
            return self.secrets[name]
        except KeyError as exc:
            return f"{type(exc).__name__}: {exc}"
"""


def test_secrets(servers: Servers) -> None:
    """A secret comes from its variable; one that is set nowhere says where it was sought."""
    edge = servers.start(SECRETS, environ={"TRUSS_SECRET_token": "variable", "TRUSS_SECRET_empty": ""})

    assert edge.call("token") == "variable"
    for name in ("unset", "empty", "../../etc/hostname"):
        text = edge.call(name)
        assert text.startswith("SecretNotFound: ")
        assert f"TRUSS_SECRET_{name}" in text
    assert edge.call("get") == "default"
    assert edge.call("all") == [True, [], True]


def test_where_a_secret_is_looked_for(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A mounted file comes before the variable, the variable before config.yaml's default."""
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "file").write_text("from the file\n")
    defaults = {"file": "default", "variable": "default", "default": "default", "unset": None}
    secrets = Secrets(
        defaults, folder, {"TRUSS_SECRET_file": "variable", "TRUSS_SECRET_variable": "variable"}
    )

    assert [secrets[name] for name in ("file", "variable", "default")] == [
        "from the file",
        "variable",
        "default",
    ]
    assert list(secrets) == list(defaults)
    with pytest.raises(SecretNotFound, match="TRUSS_SECRET_unset"):
        secrets["unset"]


LOAD = """
import gates


class Model:
    tries = 0

    {kind}def load(self):
        type(self).tries += 1
        if self.tries < {good}:
            raise ValueError(f"try {{self.tries}}")

    def predict(self, x):
        return self.tries
"""


@pytest.mark.parametrize("kind", ["", "async "])
def test_load_is_tried_again(servers: Servers, kind: str) -> None:
    """A load() that fails once is tried a second time, and how it failed is in the log."""
    edge = servers.start(LOAD.format(kind=kind, good=2))

    assert edge.call(0) == 2
    told = edge.wait_log("load() had failed before")["message"]
    assert told.endswith('    raise ValueError(f"try {self.tries}")\nValueError: try 1\n')
    assert edge.wait_log("load() failed")["message"] == "load() failed, trying again: ValueError: try 1"


@pytest.mark.parametrize(("told", "count"), [("always the same", 1), ("{self.tries}", 2)])
def test_each_failure_of_load_is_traced_once(servers: Servers, told: str, count: int) -> None:
    """A second failure that is the first one again has one traceback, in the end; another one has its own."""
    edge = servers.start(LOAD.format(kind="", good=9).replace("try {self.tries}", told), ready=False)

    assert edge.wait_exit() == 3
    assert edge.log_text().count(", in load\n") == count


@pytest.mark.parametrize(("retries", "tries"), [("0", 1), ("2", 3)])
def test_load_is_given_up(servers: Servers, retries: str, tries: int) -> None:
    """NUM_LOAD_RETRIES_TRUSS says how often; then the server ends with 3 and the last traceback."""
    edge = servers.start(
        LOAD.format(kind="", good=9), ready=False, environ={"NUM_LOAD_RETRIES_TRUSS": retries}
    )

    assert edge.wait_exit() == 3
    assert f'raise ValueError(f"try {{self.tries}}")\nValueError: try {tries}' in edge.records[-1]["exc_info"]


def test_order_of_life(servers: Servers) -> None:
    """__init__, setup_environment, load, calls, unload at SIGTERM; sync or async."""
    edge = servers.start(
        """
        import gates

        STEPS = []

        class Model:
            def __init__(self):
                STEPS.append("init")

            async def setup_environment(self, environment):
                STEPS.append(f"setup {environment['name']}")

            async def load(self):
                STEPS.append("load")

            def predict(self, x):
                STEPS.append("predict")
                return STEPS

            async def unload(self):
                STEPS.append("unload")
                gates.mark("life", ",".join(STEPS))
                print("good bye")
        """
    )
    edge.call(0)
    edge.signal(signal.SIGTERM)

    assert edge.wait_exit() == 0
    assert edge.gates.read("life") == "init,setup production,load,predict,unload"
    edge.wait_log("good bye", source="model")


def test_an_unload_that_fails(servers: Servers) -> None:
    """An exception in unload() is in the log, and the server ends all the same."""
    edge = servers.start(
        "class Model:\n    def predict(self, x):\n        return x\n"
        "    def unload(self):\n        raise ValueError('stays')\n"
    )
    edge.signal(signal.SIGTERM)

    assert edge.wait_exit() == 0
    assert "ValueError: stays" in edge.wait_log("unload() failed")["exc_info"]


def test_imports(servers: Servers) -> None:
    """Relative imports, `import model` and packages/ with their data work; nothing of the server's is in the way."""
    edge = servers.start(
        """
        import sys
        from pathlib import Path

        import bundled.deep
        import model.other as by_name
        from . import other
        from .folder.inner import VALUE


        class Model:
            def predict(self, x):
                import model.late
                return [other is by_name, VALUE, bundled.deep.TEXT, model.late.LATE, "uvicorn" in sys.modules]
        """,
        files={
            "model/other.py": "",
            "model/late.py": "from .other import __name__ as LATE\n",
            "model/folder/__init__.py": "",
            "model/folder/inner.py": "from ..other import __name__ as VALUE\n",
            "packages/bundled/__init__.py": "",
            "packages/bundled/deep.py": "from pathlib import Path\n"
            "TEXT = Path(__file__).with_name('text.txt').read_text()\n",
            "packages/bundled/text.txt": "text",
        },
    )

    assert edge.call(0) == [True, "model.other", "text", "model.other", False]


def test_the_path_is_the_authors(servers: Servers) -> None:
    """The author's `PATH` counts, after the folder of the model's interpreter."""
    edge = servers.start(
        "import os\nclass Model:\n    def predict(self, x):\n        return os.environ[x]\n",
        config={"environment_variables": {"PATH": "/their/own:/usr/bin", "OTHER": "x"}},
    )

    assert edge.call("PATH") == f"{Path(sys.executable).parent}:/their/own:/usr/bin"
    assert edge.call("OTHER") == "x"
