"""What an edit of a package asks for: nothing, a swap of code, a load, an environment, or a rebuild."""

from __future__ import annotations

import re
import sys
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import build_tree
from truss.errors import PackageError
from truss.patch import Patch, plan_patch, plan_resync
from truss.plan import plan_release
from truss.snapshot import Snapshot, Sources

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MODEL = """\
\"\"\"A model.\"\"\"

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from helper import clean, tokenize
from toolbox.registry import REGISTRY

from . import shapes

if TYPE_CHECKING:
    from pathlib import Path

MAX_TOKENS = 20
TEMPERATURE = 0.5
_cache = {}


@dataclasses.dataclass
class Settings:
    limit: int = MAX_TOKENS

    def doubled(self):
        return self.limit * 2


@dataclasses.dataclass
class Answer:
    text: str


def warm(model):
    _cache["warm"] = True
    model.warm_up()


def cut(text):
    return text[:TEMPERATURE]


class Model:
    prefix = "a"

    def __init__(self, data_dir):
        self.words = []

    def load(self):
        \"\"\"Load.\"\"\"
        self.settings = Settings()
        self.tokens = tokenize("some words")
        self.dtype = getattr(torch, "float" + "16")
        self._read()
        warm(self)

    def _read(self):
        self.words = ["falcons"]

    def warm_up(self):
        self.count = 1

    def predict(self, inputs):
        return Answer(clean(cut(self.prefix)) + shapes.square())

    def unload(self):
        pass
"""

HELPER = """\
import re

PATTERN = re.compile("x")
VOCABULARY = {"a": 1}


def clean(text):
    return PATTERN.sub("", text)


def tokenize(text):
    return [VOCABULARY.get(word) for word in text.split()]
"""

BASE: dict[str, str | bytes] = {
    "config.yaml": "model_name: falcon\nmodel_metadata:\n  a: 1\n",
    "model/__init__.py": "",
    "model/model.py": MODEL,
    "model/shapes.py": "def square():\n    return 'square'\n",
    "packages/helper.py": HELPER,
    "packages/toolbox/__init__.py": "",
    "packages/toolbox/registry.py": "REGISTRY = {}\n\ndef register(cls):\n    REGISTRY[cls] = 1\n    return cls\n",
    "packages/unused.py": "print('never imported')\n",
    "data/words.txt": "falcons",
}


def snapshot(folder: Path, files: Mapping[str, str | bytes]) -> Snapshot:
    """Return a package as it is planned."""
    return Sources().snapshot(plan_release(build_tree(folder, files)))


class Edit:
    """A package before and after an edit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0

    def __call__(
        self,
        changes: Mapping[str, str | bytes | None],
        base: Mapping[str, str | bytes] = BASE,
    ) -> Patch:
        """Return the plan for a change of some files; None deletes one."""
        self._number += 1
        after = {name: text for name, text in {**base, **changes}.items() if text is not None}
        old = snapshot(self._folder / f"{self._number}-old", base)
        new = snapshot(self._folder / f"{self._number}-new", after)
        return plan_patch(old, new)

    def model(self, old: str, new: str) -> Patch:
        """Return the plan for a replacement in the model's file."""
        assert MODEL.count(old) == 1
        return self({"model/model.py": MODEL.replace(old, new)})


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """Give what plans edits."""
    return Edit(tmp_path)


def test_nothing(edit: Edit) -> None:
    """An equal package asks for nothing, wherever it lies."""
    assert edit({}) == Patch("nothing")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return Answer(clean", "return Answer('!' + clean"),
        ("TEMPERATURE = 0.5", "TEMPERATURE = 0.6"),
        ("return text[:TEMPERATURE]", "return text"),
        ("    text: str\n", "    text: str\n    more: int = 1\n"),
        ("    def unload(self):\n        pass", "    def unload(self):\n        print('bye')"),
        ('"""Load."""', '"""Load it all."""'),
        ('"""A model."""', '"""Another text."""'),
        ("        self._read()\n", "        # read\n\n        self._read()\n"),
        ("def cut(text):", "def trim(text):\n    return text\n\n\ndef cut(text):"),
        ("    def unload(self)", "    def is_healthy(self):\n        return True\n\n    def unload(self)"),
        ("    from pathlib import Path\n", "    from pathlib import PurePath\n"),
        ("import dataclasses\n", "import dataclasses\nimport json\n"),
        ("return text[:TEMPERATURE]", "import numpy\n    return numpy.array(text)"),
    ],
)
def test_swap(edit: Edit, old: str, new: str) -> None:
    """What `load` does not use is swapped, comments and docstrings too: tracebacks show the lines that are there."""
    patch = edit.model(old, new)

    assert (patch.kind, patch.where, patch.reasons) == ("swap", "model/model.py", ())
    assert (patch.changed, patch.deleted) == (("model/model.py",), ())
    assert patch.modules == ("model/__init__.py", "model/model.py")
    assert patch.keep == {"model/model.py": ("MAX_TOKENS", "Settings", "_cache", "warm")}


@pytest.mark.parametrize(
    ("old", "new", "where", "reason"),
    [
        ("self.words = []", "self.words = [1]", "__init__", "`__init__` changed"),
        ("        self._read()\n", "", "load", "`load` changed"),
        ('self.words = ["falcons"]', "self.words = []", "load", "`load` uses `_read`, which changed"),
        ("self.count = 1", "self.count = 2", "load", "`load` uses `warm_up`, which changed"),
        ("MAX_TOKENS = 20", "MAX_TOKENS = 30", "load", "`load` uses `MAX_TOKENS`, which changed"),
        (
            "    limit: int",
            "    most: int = 1\n    limit: int",
            "load",
            "`load` uses `Settings`, which changed",
        ),
        ("self.limit * 2", "self.limit * 3", "load", "`load` uses `Settings`, which changed"),
        ("_cache = {}", "_cache = {1: 1}", "load", "`load` uses `_cache`, which changed"),
        ('prefix = "a"', 'prefix = "b"', "Model", "`Model` changed"),
        ("class Model:", "class Model(dict):", "Model", "`Model` changed"),
        ("import torch\n", "import torch_two as torch\n", "load", "`load` uses `torch`, which changed"),
        (
            "import torch\n",
            "import torch\nprint('hello')\n",
            "",
            "what model/model.py does when it is imported changed",
        ),
        (
            "import torch\n",
            "import torch\nimport torch_plugin\n",
            "",
            "model/model.py no longer or newly imports `torch_plugin`, which it does not use",
        ),
    ],
)
def test_load(edit: Edit, old: str, new: str, where: str, reason: str) -> None:
    """What `load` uses is loaded again when it changes, and the reason names it."""
    patch = edit.model(old, new)

    assert (patch.kind, patch.reasons, patch.modules) == ("load", (reason,), ())
    assert patch.where == ("model/model.py" + (f" ({where})" if where else ""))


@pytest.mark.parametrize(
    ("code", "line", "kind"),
    [
        ('def tool():\n    """Old."""', "json_schema(tool)", "load"),
        ('class Sig:\n    """Old."""', "Sig()", "load"),
        ('class Sig:\n    def ask(self):\n        """Old."""', "Sig()", "load"),
        ('class Sig:\n    """Old."""', "print(self.__doc__)", "load"),
        ('class Sig:\n    """Old."""', "inspect.getsource(self)", "load"),
        ('def tool():\n    """Old."""', "pass", "swap"),
        ("class Item:\n    text = 'Old'\nclass Sig:\n    items: 'List[Item]'", "Sig()", "load"),
    ],
)
def test_docstring_that_is_data(edit: Edit, code: str, line: str, kind: str) -> None:
    """What `load` uses may read docstrings and annotations: prompts, schemas, descriptions of tools."""
    text = MODEL.replace("        self._read()\n", f"        self._read()\n        {line}\n")
    text = text.replace("TEMPERATURE = 0.5", f"TEMPERATURE = 0.5\n{code}\n")

    patch = edit({"model/model.py": text.replace("Old", "New")}, {**BASE, "model/model.py": text})

    assert patch.kind == kind


ROOTS: dict[str, str | bytes] = {
    "config.yaml": "model_name: falcon\n",
    "model/model.py": textwrap.dedent("""\
        from functools import cached_property

        class Client:
            region = 1

        def template():
            return 2

        class Model:
            def setup_environment(self, environment):
                self.client = Client()

            def load(self):
                pass

            @cached_property
            def prompt(self):
                return template()

            def predict(self, inputs):
                return 3
        """),
}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Client()", "Client", "`setup_environment` changed"),
        ("region = 1", "region = 0", "`setup_environment` uses `Client`, which changed"),
        ("return template()", "return 0", "`prompt` changed"),
        ("return 2", "return 0", "`prompt` uses `template`, which changed"),
        ("prompt", "other", "`other` is new"),
        ("return 3", "return 0", ""),
    ],
)
def test_what_the_instance_holds(edit: Edit, old: str, new: str, reason: str) -> None:
    """What ran before `load`, and values that a `cached_property` left behind, are made again by a load."""
    text = str(ROOTS["model/model.py"]).replace(old, new)

    patch = edit({"model/model.py": text}, ROOTS)

    assert (patch.kind, "".join(patch.reasons)) == ("load" if reason else "swap", reason)


def test_helper_of_predict(edit: Edit) -> None:
    """A helper that only `predict` uses is swapped with all who import it; what `load` made stays what it is."""
    patch = edit({"packages/helper.py": HELPER.replace("sub('", "sub('-").replace('sub("', 'sub("-')})

    assert patch.kind == "swap"
    assert patch.modules == ("model/__init__.py", "model/model.py", "packages/helper.py")
    assert patch.keep["packages/helper.py"] == ("VOCABULARY", "tokenize")


def test_helper_of_load(edit: Edit) -> None:
    """A table that a helper of `load` uses is what `load` uses."""
    patch = edit({"packages/helper.py": HELPER.replace('{"a": 1}', '{"a": 2}')})

    assert (patch.kind, patch.where) == ("load", "packages/helper.py (load)")
    assert patch.reasons == ("`load` uses `VOCABULARY`, which changed",)


def test_order_of_what_load_uses(edit: Edit) -> None:
    """Registries and constants that are made of others may depend on the order of a file."""
    first, second = "MAX_TOKENS = 20\n", "_cache = {}\n"

    patch = edit({"model/model.py": MODEL.replace(second, "").replace(first, second + first)})

    assert (patch.kind, patch.reasons) == (
        "load",
        ("the order of what `load` uses in model/model.py changed",),
    )


def test_relative_import(edit: Edit) -> None:
    """A module that is imported relatively is swapped with its importer."""
    patch = edit({"model/shapes.py": "def square():\n    return 'circle'\n"})

    assert patch.kind == "swap"
    assert set(patch.modules) == {"model/__init__.py", "model/model.py", "model/shapes.py"}


def test_module_nobody_imports(edit: Edit) -> None:
    """A file that no import names may be a program that `load` starts, or be found by code of others."""
    for path, text in (("unused.py", "print('now?')\n"), ("new.py", "print('new')\n"), ("unused.py", None)):
        patch = edit({f"packages/{path}": text})
        assert (patch.kind, patch.reasons) == (
            "load",
            (f"packages/{path} changed, which no code of the package imports",),
        )


def test_rename_of_a_function_that_load_uses(edit: Edit) -> None:
    """A renamed definition is one that is gone and one that is new."""
    patch = edit(
        {
            "model/model.py": MODEL.replace("tokenize", "split"),
            "packages/helper.py": HELPER.replace("tokenize", "split"),
        }
    )

    assert patch.kind == "load"
    assert patch.where == "model/model.py (load) and 1 more"


def test_rename_of_a_module(edit: Edit) -> None:
    """A module that moves takes along what `load` uses of it."""
    renamed = {"model/model.py": MODEL.replace("from helper", "from tools"), "packages/helper.py": None}

    patch = edit({**renamed, "packages/tools.py": HELPER})

    assert (patch.kind, patch.deleted) == ("load", ("packages/helper.py",))
    assert patch.changed == ("model/model.py", "packages/tools.py")


def test_rename_of_a_module_of_predict(edit: Edit) -> None:
    """A module that only `predict` uses moves without a load."""
    patch = edit(
        {
            "model/model.py": MODEL.replace("shapes", "forms"),
            "model/shapes.py": None,
            "model/forms.py": BASE["model/shapes.py"],
        }
    )

    assert (patch.kind, patch.changed) == ("swap", ("model/forms.py", "model/model.py"))
    assert patch.modules == ("model/__init__.py", "model/forms.py", "model/model.py")


def test_deleted_module_that_is_still_imported(edit: Edit) -> None:
    """Who imports a module that is gone is loaded by a fresh process: the one that runs may have it still."""
    patch = edit({"model/shapes.py": None})

    assert (patch.kind, "model/model.py" in patch.reasons[0]) == ("load", True)


PLUGINS: dict[str, str | bytes] = {
    "config.yaml": "model_name: falcon\n",
    "model/model.py": textwrap.dedent("""\
        import plugins
        from registry import REGISTRY, Base

        class Model:
            def load(self):
                self.plugin = REGISTRY["a"]()

            def predict(self, inputs):
                return self.plugin.answer()
        """),
    "packages/registry.py": textwrap.dedent("""\
        REGISTRY = {}

        def register(name):
            def decorate(cls):
                REGISTRY[name] = cls
                return cls
            return decorate

        class Base:
            def __init_subclass__(cls):
                REGISTRY[cls.__name__] = cls

        class Apart:
            pass
        """),
    "packages/plugins.py": textwrap.dedent("""\
        from registry import Apart, Base, register

        @register("a")
        class First:
            def answer(self):
                return 1

        class Second(Base):
            def answer(self):
                return 2

        class Third(Apart):
            def answer(self):
                return 3
        """),
}


@pytest.mark.parametrize(("old", "kind"), [("return 1", "load"), ("return 2", "load"), ("return 3", "swap")])
def test_registry(edit: Edit, old: str, kind: str) -> None:
    """What registers itself in a table that `load` reads is used by `load`, though it is never named there."""
    text = str(PLUGINS["packages/plugins.py"]).replace(old, "return 0")

    assert edit({"packages/plugins.py": text}, PLUGINS).kind == kind


@pytest.mark.parametrize(
    "module",
    [
        "from registry import register\n@register('b')\nclass Other:\n    pass\n",
        "import registry\nregistry.LIMIT = 9\n",
    ],
)
def test_import_that_acts(edit: Edit, module: str) -> None:
    """A module that joins or leaves what is imported, in a function too, does what it does when it is imported."""
    base = {**PLUGINS, "packages/more.py": module}
    old = str(PLUGINS["model/model.py"])
    texts = f"import more\n{old}", old.replace("return self", "import more; return self")

    for text in texts:
        assert edit({"model/model.py": text}, base).kind == "load"
        assert edit({"model/model.py": old}, {**base, "model/model.py": text}).kind == "load"


@pytest.mark.parametrize(
    "plugin",
    [
        "from registry import REG\n@REG.register\ndef first():\n    return 1\n",
        "from registry import REG\n@REG.on.first\ndef first():\n    return 1\n",
        "from registry import REG\nnote = REG.register\n@note\ndef first():\n    return 1\n",
        "from registry import REG\ndef first():\n    return 1\nFIRST = REG.register(first)\n",
        "from registry import REG\ndef first():\n    return 1\nFIRST = REG.connect(first)\n",
        "from registry import REG\nclass First:\n    @REG.command\n    def first(self):\n        return 1\n",
        "from registry import Plugin\nclass First(Plugin):\n    def answer(self):\n        return 1\n",
        "from registry import Kind\nclass First(Kind):\n    def answer(self):\n        return 1\n",
        "from registry import Made\nclass First(Made):\n    def answer(self):\n        return 1\n",
        "from registry import conv\n@conv.register\ndef _(x: int):\n    return 1\n",
        "from registry import conv\n@conv.register(int)\ndef first(x):\n    return 1\n",
    ],
)
def test_ways_to_register(edit: Edit, plugin: str) -> None:
    """Whatever a decorator, a base class or a metaclass puts into what `load` uses is used by `load`."""
    registry = textwrap.dedent("""\
        from functools import singledispatch

        class Registry:
            def register(self, function):
                self.items[function.__name__] = function
                return function

        class Plugin:
            registry = {}
            def __init_subclass__(cls):
                Plugin.registry[cls.__name__] = cls

        class Kind:
            registry = {}
            def __init_subclass__(cls):
                cls.registry[cls.__name__] = cls

        class Meta(type):
            kinds = []
            def __init__(cls, *args):
                cls.kinds.append(cls)

        class Made(metaclass=Meta):
            pass

        @singledispatch
        def conv(x):
            return 0

        REG = Registry()
        """)
    model = (
        "import plugins\nfrom registry import *\nclass Model:\n    def load(self):\n"
        "        self.all = REG.items, Plugin.registry, Kind.registry, Made.kinds, conv(3)\n"
    )
    base = {**PLUGINS, "model/model.py": model, "packages/registry.py": registry}
    apart = f"{plugin}def apart():\n    return 2\n"

    patch = edit(
        {"packages/plugins.py": apart.replace("return 1", "return 0")}, {**base, "packages/plugins.py": apart}
    )
    other = edit(
        {"packages/plugins.py": apart.replace("return 2", "return 0")}, {**base, "packages/plugins.py": apart}
    )

    assert (patch.kind, other.kind) == ("load", "swap")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("import timm\n@timm.register_model\ndef net():\n    return 1\n", "load"),
        ("from spacy import component\n@component('net')\ndef net():\n    return 1\n", "load"),
        ("import yaml\nclass Net(yaml.YAMLObject):\n    def run(self):\n        return 1\n", "load"),
        ("import timm\nNET = timm.register_model(lambda: 1)\n", "load"),
        ("import os\nNET = os.environ.setdefault('NET', 1 + 1)\n", "load"),
        ("import functools\n@functools.cache\ndef net():\n    return 1\n", "swap"),
        ("import threading\nclass Net(threading.Thread):\n    def run(self):\n        return 1\n", "swap"),
        ("import pydantic\nclass Net(pydantic.BaseModel):\n    size: int = 1\n", "swap"),
        ("import torch\n@torch.no_grad()\ndef net():\n    return 1\n", "swap"),
    ],
)
def test_registry_of_others(edit: Edit, code: str, kind: str) -> None:
    """What a decorator or a base class of others may have put into a registry of theirs is used by `load`."""
    base = {**PLUGINS, "packages/plugins.py": code}
    changed = code.replace("1", "0")

    assert edit({"packages/plugins.py": changed}, base).kind == kind


def test_method_that_registers(edit: Edit) -> None:
    """A method of the model is used by `load` where it puts itself into what `load` reads."""
    text = textwrap.dedent("""\
        ROUTES = Routes()

        class Model:
            def load(self):
                self.routes = dict(ROUTES)

            @ROUTES.add
            def answer(self):
                return 1

            def predict(self, inputs):
                return 2
        """)
    base = {"config.yaml": "model_name: falcon\n", "model/model.py": text}

    for old, kind in (("return 1", "load"), ("return 2", "swap")):
        assert edit({"model/model.py": text.replace(old, "return 0")}, base).kind == kind


def test_registry_that_stays_is_not_filled_twice(edit: Edit) -> None:
    """A registry that `load` reads stays, so a module that fills it in a statement is not executed twice."""
    text = str(PLUGINS["packages/plugins.py"]) + "\nregister('b')(Third)\n"
    base = {**PLUGINS, "packages/plugins.py": text}

    patch = edit({"packages/plugins.py": text.replace("return 3", "return 4")}, base)

    assert patch.kind == "load"
    assert patch.reasons == ("packages/plugins.py changes `register` when it is imported, which `load` uses",)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("getattr(self, inputs)()", "load"),
        ("eval('predict')", "load"),
        ("hasattr(self, inputs)", "load"),
        ("dir(shapes)", "load"),
        ("functools.reduce(getattr, inputs, self)", "load"),
        ("hasattr(self, 'words')", "swap"),
        ("dir(torch)", "swap"),
        ("vars(self)", "load"),
        ("importlib.import_module('helper')", "load"),
        ("pickle.load(file)", "load"),
        ("torch.load('weights', weights_only=False)", "load"),
        ("torch.load('weights', map_location='cpu')", "load"),
        ("numpy.load('weights', allow_pickle=True)", "load"),
        ("pandas.read_pickle('table')", "load"),
        ("shelve.open('table')", "load"),
        ("inspect.getmembers(self)", "load"),
        ("inspect.getattr_static(self, inputs)", "load"),
        ("self.__getattribute__(inputs)", "load"),
        ("gc.get_objects()", "load"),
        ("sys._getframe(1)", "load"),
        ("setattr(type(self), 'shared', 1)", "load"),
        ("setattr(Model, 'shared', 1)", "load"),
        ("setattr(shapes, 'shared', 1)", "load"),
        ("delattr(shapes, 'shared')", "load"),
        ("type(self).shared = 1", "load"),
        ("Model.shared = 1", "load"),
        ("shapes.shared = 1", "load"),
        ("sys.modules['helper']", "load"),
        ("getattr(self, 'words')", "swap"),
        ("getattr(torch, inputs)", "swap"),
        ("builtins.eval('predict')", "load"),
        ("self.words.eval()", "swap"),
        ("gc.collect()", "swap"),
        ("setattr(self, 'words', 1)", "swap"),
        ("torch.load('weights', weights_only=True)", "swap"),
        ("numpy.load('weights', allow_pickle=False)", "swap"),
    ],
)
def test_dynamic_code_in_load(edit: Edit, line: str, kind: str) -> None:
    """Where `load` may use anything, any edit loads again."""
    text = MODEL.replace("        self._read()\n", f"        self._read()\n        {line}\n")
    base = {**BASE, "model/model.py": text}

    patch = edit({"model/model.py": text.replace("TEMPERATURE = 0.5", "TEMPERATURE = 1")}, base)

    assert patch.kind == kind
    assert (kind == "swap") or "nobody can tell what `load` uses" in patch.reasons[0]


def test_dynamic_module_of_another_name(edit: Edit) -> None:
    """A module that `load` knows by another name is the one that it is."""
    text = MODEL.replace("import torch\n", "import pickle as p\nimport torch\n")
    text = text.replace("        self._read()\n", "        p.load(self)\n")
    base = {**BASE, "model/model.py": text}

    assert edit({"model/model.py": text.replace("0.5", "0.6")}, base).kind == "load"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("__import__('helper')", "load"),
        ("importlib.import_module('helper')", "load"),
        ("pickle.loads(inputs)", "load"),
        ("torch.load(inputs)", "load"),
        ("ProcessPoolExecutor(1)", "load"),
        ("torch.multiprocessing.Process(target=self)", "load"),
        ("ThreadPoolExecutor(1)", "swap"),
        ("importlib.resources.files('helper')", "swap"),
        ("getattr(self, inputs)()", "swap"),
        ("vars(inputs)", "swap"),
        ("torch.load(inputs, weights_only=True)", "swap"),
    ],
)
@pytest.mark.parametrize("path", ["model/model.py", "packages/helper.py"])
def test_dynamic_code_in_predict(edit: Edit, path: str, line: str, kind: str) -> None:
    """Code that finds modules or classes by name might find those of another version, wherever it is."""
    text = str(BASE[path]) + f"\ndef apart(self, inputs):\n    {line}\n"

    patch = edit({"model/shapes.py": "def square():\n    return 1\n"}, {**BASE, path: text})

    assert patch.kind == kind
    assert (kind == "swap") or patch.reasons[0].startswith(f"{path} uses ")


def test_module_that_may_import_any(edit: Edit) -> None:
    """A module that imports `importlib` is executed again with whatever changes."""
    text = MODEL.replace("import torch\n", "import importlib\nimport torch\n")
    base = {**BASE, "model/model.py": text, "packages/unused.py": "x = 1\n"}

    assert "model/model.py" in edit({"packages/unused.py": "x = 2\n"}, base).modules


@pytest.mark.parametrize(
    ("head", "line", "kind"),
    [
        ("class Model(threading.Thread):", "self.start()", "load"),
        ("class Model(lightning.Base):", "self.start()", "load"),
        ("class Model:", "torch.fit(self)", "load"),
        ("class Model:", "self.trainer.fit(model=self)", "load"),
        ("class Model:", "TABLE = [self]", "load"),
        ("class Model:", "warm(self)", "swap"),
        ("class Model:", "self._read(self)", "swap"),
        ("class Model:", "isinstance(self, dict)", "swap"),
    ],
)
def test_others_may_call_any_method(edit: Edit, head: str, line: str, kind: str) -> None:
    """A base class of others, and code of others that is given the model, call methods that nothing names."""
    text = MODEL.replace("class Model:", head).replace("        self._read()\n", f"        {line}\n")
    text = text.replace("    def unload(", "    def run(self):\n        return 1\n\n    def unload(")

    for old, expected in (("return 1", kind), ("Answer(clean", "swap")):
        changed = text.replace(old, old.replace("1", "2").replace("Answer(", "str("))
        assert edit({"model/model.py": changed}, {**BASE, "model/model.py": text}).kind == expected


FAMILY: dict[str, str | bytes] = {
    "config.yaml": "model_name: falcon\n",
    "model/model.py": textwrap.dedent("""\
        from base import Base

        class Model(Base):
            def load(self):
                super().load()
                self.more = self.extra()
        """),
    "packages/base.py": textwrap.dedent("""\
        class Base:
            def load(self):
                self.words = 1

            def extra(self):
                return 1

            def predict(self, inputs):
                return self.words
        """),
}


@pytest.mark.parametrize(
    ("bound", "line", "kind"),
    [
        ("cache = {}", "self.cache['w'] = 5", "load"),
        ("cache = {}", "Model.cache.update(w=5)", "load"),
        ("cache: list[int] = []", "self.cache += [5]", "load"),
        ("cache = []", "fill(self.cache)", "load"),
        ("cache = threading.local()", "type(self).cache.load()", "load"),
        ("class cache: pass", "self.kind = self.cache()", "load"),
        ("cache = lru_cache(int)", "self.cache(1)", "load"),
        ("cache = {}", "self.caches = {}", "swap"),
        ("cache = 'a'", "self.cache.upper()", "swap"),
        ("cache = (1, -2)", "self.cache.index(1)", "swap"),
        ("cache: dict", "self.cache = {}", "swap"),
        ("cache = torch.float16", "self.cache.is_complex", "swap"),
    ],
)
def test_body_of_the_model(edit: Edit, bound: str, line: str, kind: str) -> None:
    """What the body of the model's class makes, and `load` uses, would be made anew by a swap."""
    text = MODEL.replace('prefix = "a"', f'prefix = "a"\n    {bound}')
    text = text.replace("        self._read()\n", f"        self._read()\n        {line}\n")

    patch = edit({"model/model.py": text.replace("0.5", "0.6")}, {**BASE, "model/model.py": text})

    assert patch.kind == kind
    assert (kind == "swap") or patch.reasons == ("`load` uses `cache`, which `Model` makes anew in its body",)


def test_cached_method(edit: Edit) -> None:
    """A method that remembers what it returned to `load` would forget it."""
    text = MODEL.replace("    def _read(", "    @functools.lru_cache(1)\n    def _read(")

    assert (
        edit({"model/model.py": text.replace("0.5", "0.6")}, {**BASE, "model/model.py": text}).kind == "load"
    )


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("shapes.square = cut", "load"),
        ("torch.count = getattr(torch, 'count', 0) + 1", "load"),
        ("torch.count += 1", "load"),
        ("del torch.count", "load"),
        ("torch.TABLE['a'] = cut", "load"),
        ("LOGGER = logging.getLogger('a')\nLOGGER.addHandler(logging.StreamHandler())", "load"),
        ("atexit.register(cut)", "load"),
        ("@atexit.register\ndef bye():\n    pass", "load"),
        ("AutoConfig.register('a', Answer)", "load"),
        ("warm(None)", "load"),
        ("[torch.register(one) for one in ()]", "load"),
        ("if True:\n    torch.register(1)", "load"),
        ("from prometheus_client import Counter\nANSWERS = Counter('a', 'A')", "load"),
        ("import prometheus_client as p\nANSWERS = p.Gauge('a', 'A')", "load"),
        ("from prometheus_client import Summary as S\nclass Metrics:\n    took = S('a', 'A')", "load"),
        ("from collections import Counter\nANSWERS = Counter('a')", "swap"),
        ("LOGGER = logging.getLogger('a')\nLOGGER.setLevel(10)", "swap"),
        ("torch.backends.cudnn.benchmark = True", "swap"),
        ("os.environ['A'] = '1'", "swap"),
        ("torch.set_num_threads(4)", "swap"),
        ("print(torch.version())", "swap"),
        ("EXTRA = {}\nEXTRA.update(a=1)\nEXTRA['b'] = cut\nfor c in 'ab':\n    EXTRA[c] = cut(c)", "swap"),
        ("with open('a') as file:\n    EXTRA = file.read()", "swap"),
        ("def later():\n    torch.register(1)", "swap"),
    ],
)
def test_effect_of_an_import(edit: Edit, line: str, kind: str) -> None:
    """What a module does to others when it is imported is not done twice in one process."""
    text = MODEL.replace("TEMPERATURE = 0.5\n", f"TEMPERATURE = 0.5\n{line}\n")

    patch = edit({"model/model.py": text.replace("0.5", "0.6")}, {**BASE, "model/model.py": text})

    assert patch.kind == kind
    assert (kind == "swap") or re.search(r"line (19|2\d) of model/model.py|changes `warm`", patch.reasons[0])


def test_effect_of_another_module(edit: Edit) -> None:
    """A module that is not executed again does nothing twice; a metric that `load` uses stays."""
    base = {**BASE, "packages/helper.py": f"{HELPER}\nre.compile('x')\n"}
    text = MODEL.replace("MAX_TOKENS = 20", "from prometheus_client import Gauge\nMAX_TOKENS = Gauge()")

    assert edit({"model/model.py": MODEL.replace("0.5", "0.6")}, base).kind == "swap"
    assert (
        edit({"model/model.py": text.replace("0.5", "0.6")}, {**BASE, "model/model.py": text}).kind == "swap"
    )


GLOBAL: dict[str, str | bytes] = {
    "config.yaml": "model_name: falcon\n",
    "model/model.py": textwrap.dedent("""\
        import counter
        from apart import answer

        class Model:
            def load(self):
                counter.start()

            def predict(self, inputs):
                return answer() + "1"
        """),
    "packages/apart.py": "def answer():\n    global ASKED\n    ASKED = 1\n    return '2'\n",
    "packages/counter.py": textwrap.dedent("""\
        LATEST = 0

        def start():
            threading.Thread(target=refresh).start()

        def refresh():
            global LATEST
            LATEST += 1

        def apart():
            return "3"
        """),
}


@pytest.mark.parametrize(
    ("path", "old", "kind"),
    [
        ("model/model.py", '"1"', "swap"),
        ("packages/apart.py", "'2'", "swap"),
        ("packages/counter.py", '"3"', "load"),
    ],
)
def test_global(edit: Edit, path: str, old: str, kind: str) -> None:
    """A module whose names `load`, or a thread of it, goes on to bind is not executed beside itself."""
    patch = edit({path: str(GLOBAL[path]).replace(old, "'0'")}, GLOBAL)

    assert patch.kind == kind
    assert (kind == "swap") or patch.reasons == ("`load` uses code that declares `global LATEST`",)


@pytest.mark.parametrize(
    ("old", "kind"),
    [("return self.words", "swap"), ("return 1", "load"), ("self.words = 1", "load")],
)
def test_base_class(edit: Edit, old: str, kind: str) -> None:
    """A base class of the model is taken apart into methods as the model is."""
    text = str(FAMILY["packages/base.py"]).replace(old, f"{old} + 1")

    patch = edit({"packages/base.py": text}, FAMILY)

    assert (patch.kind, patch.keep) == (kind, {})


ATTRIBUTES: dict[str, str | bytes] = {
    "config.yaml": "model_name: falcon\n",
    "model/model.py": textwrap.dedent("""\
        from tools import Pipe, get

        #top

        class Model:
            #body
            def load(self):
                #load
                self.pipe = Pipe()
                self.pipe.predict("warm")
                self.size = self.settings.get("size")

            def predict(self, inputs):
                return get(inputs)
        """),
    "packages/tools.py": textwrap.dedent("""\
        class Pipe:
            def predict(self, text):
                return text

        def get(inputs):
            return "1"

        def warm(model):
            model.predict(1)
        """),
}


@pytest.mark.parametrize(
    ("place", "code", "predict", "get"),
    [
        ("#load", "pass", "swap", "swap"),
        # Ways to the model's own method.
        ("#load", "self.predict(1)", "load", "load"),
        ("#load", "[self.predict(x) for x in range(3)]", "load", "load"),
        ("#load", "call = lambda: self.predict(1)", "load", "load"),
        ("#load", "me = self; me.predict(1)", "load", "load"),
        ("#load", "from tools import warm; warm(self)", "load", "load"),
        ("#load", "self.__class__.predict(self, 1)", "load", "load"),
        ("#load", "getattr(self, 'predict')(1)", "load", "load"),
        ("#load", "Model().predict(1)", "load", "load"),
        ("#load", "self.again = self.load; self.again.__self__.predict(1)", "load", "load"),
        ("#top", "def hot(f):\n    def run(s):\n        s.predict(1)\n    return run", "swap", "swap"),
        ("#body", "step = other", "swap", "swap"),
        # Ways to the function of a module.
        ("#load", "import tools; self.tools = tools", "swap", "load"),
        ("#load", "import tools as own; own.get(1)", "swap", "load"),
        ("#load", "import packages.tools; packages.tools.get(1)", "swap", "load"),
        ("#load", "from packages import tools; tools.get(1)", "swap", "load"),
        ("#top", "from tools import *", "swap", "load"),
    ],
)
def test_attributes_of_others(edit: Edit, place: str, code: str, predict: str, get: str) -> None:
    """An attribute is that of the model, or of a module, where it may be: where one of them is at hand as an object."""
    text = str(ATTRIBUTES["model/model.py"]).replace(
        place, code.replace("\n", "\n" + " " * 4 * (place != "#top"))
    )
    base = {**ATTRIBUTES, "model/model.py": text}

    assert edit({"model/model.py": text.replace("get(inputs)", "get(inputs + 1)")}, base).kind == predict
    tools = str(ATTRIBUTES["packages/tools.py"]).replace('"1"', '"2"')
    assert edit({"packages/tools.py": tools}, base).kind == get


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    def load(self)", "    @hot\n    def load(self)"),
        ("class Model:", "@hot\nclass Model:"),
        ("class Model:", "class Model(Foreign):"),
        ("class Model:", "class Model(metaclass=Foreign):"),
        ("    def load(self):", "    start = other\n\n    def load(self):"),
        ("    def load(self):", "    start = make()\n\n    def load(self):"),
    ],
)
def test_others_that_have_the_model(edit: Edit, old: str, new: str) -> None:
    """Where decorators, bases or borrowed methods have the instance, any attribute may be one of the model."""
    own = "def hot(f):\n    return f\n\ndef other(self):\n    self.predict(1)\n\ndef make():\n    return other\n\n"
    model = str(ATTRIBUTES["model/model.py"]).replace("#top", own).replace(old, new)
    base = {**ATTRIBUTES, "model/model.py": model}

    assert edit({"model/model.py": model.replace("get(inputs)", "get(inputs + 1)")}, base).kind == "load"


def test_block_that_binds(edit: Edit) -> None:
    """A block that only imports and sets a flag runs again; one that makes a class which `load` uses does not."""
    flag = "try:\n    import flash\n    FAST = True\nexcept ImportError:\n    FAST = False\n\n"
    made = "if True:\n    class FAST:\n        pass\n\n"
    for block, kind in ((flag, "swap"), (made, "load")):
        text = MODEL.replace("MAX_TOKENS = 20", f"{block}MAX_TOKENS = 20").replace("warm(self)", "warm(FAST)")
        base = {**BASE, "model/model.py": text}

        assert edit({"model/model.py": text.replace("0.5", "0.6")}, base).kind == kind


def test_syntax_error(edit: Edit) -> None:
    """A file that is no Python is refused with its line, before anybody is asked."""
    with pytest.raises(PackageError) as caught:
        edit({"packages/helper.py": "def clean(:\n"})

    assert caught.value.message == "packages/helper.py is no valid Python."
    assert "packages/helper.py:1:" in caught.value.details


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there is no newer Python than this")
def test_syntax_of_a_newer_python(edit: Edit) -> None:
    """A file that only the model's newer Python may read is left to the deployment."""
    base = {**BASE, "config.yaml": "model_name: falcon\npython_version: py314\n"}

    patch = edit({"packages/helper.py": "def clean(:\n"}, base)

    assert (patch.kind, patch.where) == ("load", "packages/helper.py")


def test_broken_file_that_nobody_edits(edit: Edit) -> None:
    """A file that was no Python before does not stand in the way of edits of others."""
    base = {**BASE, "packages/ancient.py": "print 'two'\n"}

    assert edit({"model/shapes.py": "def square():\n    return 1\n"}, base).kind == "swap"


def test_file_that_was_no_text(edit: Edit) -> None:
    """A file with null bytes is refused like one with wrong syntax."""
    with pytest.raises(PackageError, match="no valid Python"):
        edit({"packages/helper.py": b"x = 1\0"})


@pytest.mark.parametrize("path", ["data/words.txt", "model/prompt.txt", "packages/vocabulary.json"])
@pytest.mark.parametrize("content", ["other", None])
def test_file_that_is_no_code(edit: Edit, path: str, content: str | None) -> None:
    """Data are what `load` reads, wherever they lie."""
    patch = edit({path: content}, {**BASE, path: "this"})

    assert (patch.kind, patch.where) == ("load", f"{path} (load)")
    assert patch.reasons[0].startswith(f"{path} {'changed' if content else 'was deleted'}")


def test_executable_bit(edit: Edit, tmp_path: Path) -> None:
    """Whether a file may be run is part of it."""
    old = snapshot(tmp_path / "old", BASE)
    (tmp_path / "old/data/words.txt").chmod(0o755)

    assert plan_patch(old, snapshot(tmp_path / "old", BASE)).kind == "load"


@pytest.mark.parametrize(
    ("config", "kind", "reason"),
    [
        ("model_name: falcon # a bird\nmodel_metadata:\n  a: 1\n", "swap", ""),
        ("model_name: falcon\nmodel_metadata:\n  a: 2\n", "load", "`model_metadata` in config.yaml changed"),
        ("model_name: falcon\nruntime:\n  max_queue: 3\n", "rebuild", "`runtime` in config.yaml changed"),
        (
            "model_name: falcon\nsystem_packages: [git]\n",
            "rebuild",
            "`system_packages` in config.yaml changed",
        ),
        ("model_name: falcon\npython_version: py312\n", "rebuild", "`python_version` in config.yaml changed"),
        ("model_name: falcon\npython_version: py311\n", "rebuild", "`python_version` in config.yaml changed"),
        ("model_name: falcon\nbase_image: {image: a}\n", "rebuild", "`base_image` in config.yaml changed"),
        ("model_name: falcon\nrequirements: [numpy]\n", "environment", "the requirements changed"),
        ("model_name: falcon\nsecrets: {token: null}\n", "rebuild", "`secrets` in config.yaml changed"),
        (
            "model_name: falcon\ndocker_server: {start_command: serve, readiness_endpoint: /}\n",
            "rebuild",
            "`docker_server` in config.yaml changed",
        ),
    ],
)
def test_settings(edit: Edit, config: str, kind: str, reason: str) -> None:
    """Each key of config.yaml asks for as much as it decides; a comment for nothing but the file."""
    patch = edit({"config.yaml": config})

    assert (patch.kind, patch.where) == (kind, "config.yaml")
    assert patch.reasons == ((reason,) if reason else ())
    assert patch.modules == ()


def test_implied_requirement(edit: Edit) -> None:
    """A library that the code begins to import, and that is installed for that, makes a new environment."""
    assert edit.model("import torch\n", "import fastapi\nimport torch\n").kind == "environment"


def test_order_of_requirements(edit: Edit) -> None:
    """The same requirements in another order need no other environment."""
    base = {**BASE, "config.yaml": "model_name: falcon\nrequirements: [a, b]\n"}

    assert edit({"config.yaml": "model_name: falcon\nrequirements: [b, a]\n"}, base).kind == "swap"


def test_files_of_requirements(edit: Edit) -> None:
    """An edit of any file that says what is installed, or of a wheel, makes a new environment; a comment does not."""
    files = {
        "r.txt": "-r more.txt\n-c c.txt\n./ours-1.0-py3-none-any.whl\n",
        "more.txt": "a\n",
        "c.txt": "a<2\n",
    }
    wheel = {"ours-1.0-py3-none-any.whl": "1"}
    base = {**BASE, "config.yaml": "model_name: falcon\nrequirements_file: r.txt\n", **files, **wheel}

    assert edit({"more.txt": "b\n"}, base).kind == "environment"
    assert edit({"c.txt": "a<3\n"}, base).kind == "environment"
    assert edit({"ours-1.0-py3-none-any.whl": "2"}, base).kind == "environment"
    assert edit({"more.txt": "a # why\n"}, base).kind == "swap"


def test_another_truss(tmp_path: Path) -> None:
    """A server of another truss is rebuilt though the package is equal."""
    new = snapshot(tmp_path / "package", BASE)
    same_files = replace(new.plan, manifest=replace(new.plan.manifest, digest="other"))
    older = replace(new.plan, manifest=replace(new.plan.manifest, tool_version="0.0.1"))

    assert plan_patch(replace(new, plan=same_files), new).kind == "rebuild"
    assert plan_patch(replace(new, plan=older), new).reasons == ("truss itself has changed",)


def test_resync(tmp_path: Path) -> None:
    """Of a version of which only hashes are known, all that differs is loaded; settings are rebuilt."""
    new = snapshot(tmp_path / "package", BASE)
    files = {path: file.sha256 for path, file in new.files.items()}
    digest = new.plan.manifest.digest
    other = {**files, "model/model.py": "0", "packages/gone.py": "1", "release.json": "2"}

    assert plan_resync(files, digest, new) == Patch("nothing")
    assert plan_resync({**files, "data/cache.bin": "0"}, digest, new) == Patch("nothing")
    assert plan_resync(files, "other", new).kind == "rebuild"
    assert plan_resync({**files, "config.yaml": "0"}, "other", new).where == "config.yaml"
    assert plan_resync({**files, "config.yaml": "0"}, "other", new).kind == "rebuild"
    assert plan_resync(other, "other", new) == Patch(
        "load",
        "model/model.py and 1 more",
        ("what runs is not what this folder held",),
        ("model/model.py",),
        ("packages/gone.py",),
    )


def test_resync_of_files_that_were_changed_there(tmp_path: Path) -> None:
    """A version with the right digest, whose files are others, is brought what the package has."""
    new = snapshot(tmp_path / "package", BASE)
    files = {path: file.sha256 for path, file in new.files.items()}

    assert plan_resync({**files, "model/model.py": "0"}, new.plan.manifest.digest, new) == Patch(
        "load", "model/model.py", ("files were changed where it runs",), ("model/model.py",)
    )


NAMES = st.sampled_from(["alpha", "beta", "gamma", "delta", "epsilon"])
BODIES = st.dictionaries(NAMES, st.sets(NAMES), min_size=2)


def program(uses: Mapping[str, set[str]], load: set[str], values: Mapping[str, int]) -> str:
    """Return a model whose functions mention each other."""
    functions = "".join(
        f"def {name}():\n    return {values.get(name, 0)}, {', '.join(sorted(used)) or 'None'}\n\n"
        for name, used in uses.items()
    )
    called = "".join(f"        {name}\n" for name in sorted(load & uses.keys()))
    return (
        f"{functions}class Model:\n    def load(self):\n        pass\n{called}"
        f"    def predict(self, x):\n        return {', '.join(uses)}\n"
    )


def closure(uses: Mapping[str, set[str]], load: set[str]) -> set[str]:
    """Return the functions that are called, directly or not."""
    found: set[str] = set()
    todo = list(load)
    while todo:
        name = todo.pop()
        if name in uses and name not in found:
            found.add(name)
            todo += uses[name]
    return found


@given(BODIES, st.sets(NAMES), NAMES)
def test_reach_is_what_is_mentioned(
    tmp_path_factory: pytest.TempPathFactory, uses: dict[str, set[str]], load: set[str], edited: str
) -> None:
    """An edit of one function makes a load exactly where `load` mentions it, directly or through others."""
    folder = tmp_path_factory.mktemp("package")
    config = {"config.yaml": "model_name: falcon\n"}
    old = snapshot(folder / "old", {**config, "model/model.py": program(uses, load, {})})
    new = snapshot(folder / "new", {**config, "model/model.py": program(uses, load, {edited: 1})})

    patch = plan_patch(old, new)

    reached = closure(uses, load)
    assert patch.kind == (("load" if edited in reached else "swap") if edited in uses else "nothing")
    if patch.kind == "swap":
        assert set(patch.keep.get("model/model.py", ())) == reached


def test_sources_are_read_once(tmp_path: Path) -> None:
    """What a file says is known until the file changes; what is gone is forgotten."""
    sources = Sources()
    first = sources.snapshot(plan_release(build_tree(tmp_path, BASE)))
    (tmp_path / "packages/helper.py").write_text("x = 1\n")
    second = sources.snapshot(plan_release(tmp_path))

    assert second.modules.sources["model/model.py"] is first.modules.sources["model/model.py"]
    assert len(sources.known) == len({file.sha256 for file in second.plan.files if file.path.suffix == ".py"})


def test_file_that_changes_meanwhile(tmp_path: Path) -> None:
    """A file that is written between two looks is not taken for what was planned."""
    plan = plan_release(build_tree(tmp_path, BASE))
    (tmp_path / "packages/helper.py").write_text("x = 1\n")

    with pytest.raises(
        PackageError, match=re.escape("packages/helper.py has changed while it was looked at.")
    ):
        Sources().snapshot(plan)


def test_a_server_of_ones_own(edit: Edit) -> None:
    """Any file of a package with a server has it started again, and the reason says so."""
    server = "docker_server: {start_command: serve, readiness_endpoint: /}\n"
    patch = edit({"model/model.py": "print('new')\n"}, base={**BASE, "config.yaml": server})

    assert (patch.kind, patch.where) == ("load", "model/model.py")
    assert patch.reasons == ("a server of your own is started again with each edit",)
