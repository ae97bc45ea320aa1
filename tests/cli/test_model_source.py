"""The model's source: is the class there, and what does the code import?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from truss.config import TrussConfig, load_config
from truss.errors import PackageError
from truss.memory import Memory
from truss.model_source import check_model, imported_modules
from truss.package import code_files, package_files

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "class Model:\n    def predict(self, x):\n        return x\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Make a package that is right."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.py").write_text(MODEL)
    (tmp_path / "config.yaml").write_text("")
    return tmp_path


def check(package: Path) -> None:
    """Check the model of a package."""
    config = load_config(package)
    check_model(package, config, package_files(package, config, Memory()))


def refused(package: Path) -> PackageError:
    """Check the model of a package that has none, and return the error."""
    with pytest.raises(PackageError) as caught:
        check(package)
    return caught.value


@pytest.mark.parametrize(
    "source",
    [
        MODEL,
        "from falcon.serving import Model\n",
        "from falcon.serving import Falcon as Model\n",
        "from falcon.serving import *\n",
        "class Base: ...\nModel = type('Model', (Base,), {})\n",
        "Model: type = make()\n",
        "try:\n    import torch\n    class Model: ...\nexcept ImportError:\n    Model = None\n",
        "try:\n    ...\nexcept ImportError:\n    class Model: predict = f\n",
        "if True:\n    pass\nelse:\n    with open('x'):\n        class Model: predict = f\n",
        "# -*- coding: latin-1 -*-\n# caf\xe9\n" + MODEL,
        'PATTERN = "\\d"\n' + MODEL,
    ],
)
def test_a_class_that_is_there(package: Path, source: str) -> None:
    """Whatever binds the name at the top of the module may be the class; nothing is run to see."""
    (package / "model/model.py").write_text(source, encoding="latin-1")

    check(package)


@pytest.mark.parametrize(
    "source", ["", "def make():\n    class Model: ...\n", "class A:\n    class Model: ...\n"]
)
def test_no_class(package: Path, source: str) -> None:
    """A class that importing the module does not bind is not there."""
    (package / "model/model.py").write_text(source)

    assert refused(package).message == "model/model.py has no class `Model`."


def test_misspelt_class(package: Path) -> None:
    """A class of a similar name is shown at its line, and both ways out are named."""
    (package / "model/model.py").write_text("import os\n\nclass Helper: ...\nclass model(Helper): ...\n")

    error = refused(package)

    assert error.exit_code == 3
    assert error.details == (
        "model/model.py:4:7: did you mean `model`?\n"  # Python's names know upper and lower case
        "  4 | class model(Helper): ...\n"
        "    |       ^"
    )
    assert error.hint == "Rename it to `Model`, or write `model_class_name: model` into config.yaml."


def test_only_class(package: Path) -> None:
    """The only class is meant, whatever its name."""
    (package / "model/model.py").write_text("class Falcon:\n    def predict(self, x): ...\n")

    assert (
        refused(package).hint == "Rename it to `Model`, or write `model_class_name: Falcon` into config.yaml."
    )


def test_several_other_classes(package: Path) -> None:
    """Where nothing is similar the hint says what to write."""
    (package / "model/model.py").write_text("class A: ...\nclass B: ...\n")

    assert refused(package).hint == "Write `class Model:` with `load` and `predict` into it."


def test_configured_class(package: Path) -> None:
    """The class goes by the name of the configuration."""
    (package / "config.yaml").write_text("model_class_name: Falcon\nmodel_class_filename: main.py\n")
    (package / "model/main.py").write_text("class Falcon:\n    def predict(self, x): ...\n")

    check(package)


def test_syntax_error(package: Path) -> None:
    """A syntax error is shown where it is, before anything is built."""
    (package / "model/model.py").write_text("class Model:\n    limit = = 3\n")

    error = refused(package)

    assert error.message == "model/model.py is no valid Python."
    assert error.details == (
        "model/model.py:2:13: invalid syntax\n"  # the interpreter's own words
        "  2 |     limit = = 3\n"
        "    |             ^"
    )


def test_syntax_of_a_later_python(package: Path) -> None:
    """A model for a later Python than the tool's may have syntax that the tool does not know."""
    (package / "model/model.py").write_text("class Model: pass\nsome new syntax\n")
    (package / "config.yaml").write_text("python_version: py314\n")

    if sys.version_info < (3, 14):
        check(package)
    else:
        refused(package)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"x = 1\0\n", "model/model.py is no valid Python"),
        (b"\xff\xfe\x00", "model/model.py is no text"),
        (b"# coding: klingon\n", "model/model.py is no text"),
        (b"x = " + b"-" * 100_000 + b"1", "model/model.py is no valid Python"),
    ],
)
def test_no_source_at_all(package: Path, source: bytes, message: str) -> None:
    """A file that no parser takes is an error of the package."""
    (package / "model/model.py").write_bytes(source)

    assert refused(package).message.startswith(message)


def test_missing_file(package: Path) -> None:
    """A missing file says what to write."""
    (package / "model/model.py").unlink()

    error = refused(package)

    assert error.message == "There is no model/model.py in the package."
    assert error.hint == "Write the model's class into model/model.py."


def test_file_of_another_name(package: Path) -> None:
    """The only Python file beside the missing one is meant."""
    (package / "model/model.py").rename(package / "model/falcon.py")
    (package / "model/__init__.py").touch()

    assert refused(package).hint == (
        "Did you mean falcon.py? Rename it, or write `model_class_filename: falcon.py` into config.yaml."
    )


def test_ignored_file(package: Path) -> None:
    """A model that a pattern takes away is not simply missing."""
    (package / ".trussignore").write_text("*.py\n")

    error = refused(package)

    assert error.message == "model/model.py is ignored, but holds the model."
    assert error.hint == "Take the pattern that names it out of .trussignore, or add `!/model/model.py`."


@pytest.mark.parametrize(
    "source",
    [
        "class Model: ...\nModel.predict = make()\n",
        "class Model: ...\nModel = wrap(Model)\n",
        "class Model: ...\nfrom falcon import *\n",
    ],
)
def test_class_that_changes_later(package: Path, source: str) -> None:
    """A class that is not final where it is written is not judged there."""
    (package / "model/model.py").write_text(source)

    check(package)


def test_class_that_cannot_be_served(package: Path) -> None:
    """A class without a method to call is refused where it is written."""
    (package / "model/model.py").write_text("class Model:\n    def predct(self, x): ...\n")

    assert refused(package).details.startswith("model/model.py:2:5: did you mean `predict`?\n")


def test_imports(package: Path) -> None:
    """All imports of the Python files count, wherever they stand; relative ones and other files do not."""
    (package / "packages").mkdir()
    (package / "model/model.py").write_text(
        "from __future__ import annotations\n"
        "import os.path, torch.nn as nn\n"
        "from fastapi.responses import JSONResponse\n"
        "from . import starlette\n"
        "from .deep import flask\n"
        "def f():\n    import scipy\n"
        "try:\n    import cupy\nexcept ImportError: ...\n"
    )
    (package / "packages/broken.py").write_text("import pandas\nprint 'python 2'\n")
    (package / "packages/notes.txt").write_text("import polars\n")
    (package / "packages/more.py").write_text("import numpy\n")

    files = package_files(package, TrussConfig(), Memory())
    found = imported_modules(code_files(files, TrussConfig()), Memory())

    assert found == {"__future__", "os", "torch", "fastapi", "scipy", "cupy", "numpy"}
