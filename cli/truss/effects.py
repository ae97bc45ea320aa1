"""What a file does to others when it is executed: done twice, it may be done once too often."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HARMLESS = frozenset(
    {"print", "warnings.filterwarnings", "warnings.simplefilter", "logging.basicConfig", "load_dotenv"}
    | {
        "dotenv.load_dotenv",
        "os.environ.setdefault",
        "os.environ.update",
        "sys.path.append",
        "sys.path.insert",
    }
    | {"random.seed", "np.random.seed", "numpy.random.seed", "torch.manual_seed", "torch.set_num_threads"}
    | {"torch.set_grad_enabled", "torch.set_float32_matmul_precision", "torch.set_default_dtype"}
)
"""Calls that do the same when they are done again."""

METRICS = frozenset({"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"})
"""Classes of prometheus_client, which refuses a second object of one name."""

_CONTAINERS = frozenset({"dict", "list", "set", "defaultdict", "OrderedDict", "deque"})
_DISPLAYS = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class Scope:
    """What names in a file stand for.

    Attributes:
        fresh: Those of containers that the file makes.
        metrics: Those, dotted, of what registers itself with prometheus_client.
    """

    fresh: frozenset[str]
    metrics: frozenset[str]

    @classmethod
    def of(cls, tree: ast.Module) -> Scope:
        """Return the scope of a file."""
        fresh: set[str] = set()
        foreign: set[str] = set()
        metrics: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = {one.id for one in targets if isinstance(one, ast.Name)}
                (fresh if _is_container(node.value) else foreign).update(names)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                foreign.update(one.asname or one.name.partition(".")[0] for one in node.names)
                metrics.update(_metrics(node))
        return cls(frozenset(fresh - foreign), frozenset(metrics))

    def effect(self, node: ast.AST) -> int:
        """Return the line of the first thing in a statement that should not be done twice, or 0."""
        for one in _executed(node):
            if isinstance(one, ast.Call) and dotted(one.func) in self.metrics:
                return one.lineno
            if isinstance(one, ast.Expr) and not self._is_harmless(one.value):
                return one.lineno
            if isinstance(one, (ast.Attribute, ast.Subscript)) and not self._is_fresh_or_read(one):
                return one.lineno
        return 0

    def _is_fresh_or_read(self, node: ast.Attribute | ast.Subscript) -> bool:
        return isinstance(node.ctx, ast.Load) or self._is_fresh(node)

    def _is_harmless(self, value: ast.expr) -> bool:
        if not isinstance(value, ast.Call):
            return not any(isinstance(one, ast.Call) for one in ast.walk(value))
        name = dotted(value.func)
        return name in HARMLESS or name.endswith(".setLevel") or self._is_fresh(value.func)

    def _is_fresh(self, node: ast.AST) -> bool:
        """Return whether what is changed through an expression is a container of this file."""
        return isinstance(node, (ast.Attribute, ast.Subscript)) and dotted(node).split(".")[0] in self.fresh


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is executed with a statement: no bodies of functions, nothing that binds a constant."""
    if isinstance(node, _FUNCTIONS):
        around = [] if isinstance(node, ast.Lambda) else node.decorator_list
        for one in around:
            if dotted(one) == "atexit.register":
                yield ast.copy_location(ast.Expr(ast.Call(one, [], [])), one)
        return
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _executed(child)


def _is_container(value: ast.expr | None) -> bool:
    called = isinstance(value, ast.Call) and dotted(value.func).rpartition(".")[2] in _CONTAINERS
    return called or isinstance(value, _DISPLAYS)


def _metrics(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    for one in node.names:
        if isinstance(node, ast.Import):
            if one.name == "prometheus_client":
                yield from (f"{one.asname or one.name}.{name}" for name in METRICS)
        elif (node.module or "").partition(".")[0] == "prometheus_client" and one.name in METRICS:
            yield one.asname or one.name


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` for an expression; subscripts do not count, and a call is an empty word."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Subscript):
        return dotted(node.value)
    return node.id if isinstance(node, ast.Name) else ""
