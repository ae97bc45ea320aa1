"""Start a worker in the model's environment without installing anything there.

Run as a file by the model's interpreter. `truss_server` is loaded from the folder this file lies in and nothing
else of that folder's surroundings becomes importable: a site-packages full of the server's own packages may be
its neighbour.
"""

import importlib.util
import sys
from pathlib import Path


def load_server() -> None:
    """Make `truss_server` importable from here, leaving `sys.path` to the model."""
    root = Path(__file__).resolve().parent.parent
    spec = importlib.util.spec_from_file_location(
        "truss_server", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    if spec is None or spec.loader is None:  # cannot happen for a file ending in .py
        raise ImportError(str(root))
    module = importlib.util.module_from_spec(spec)
    sys.modules["truss_server"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    if sys.path and Path(sys.path[0]) == Path(__file__).parent:  # not so with PYTHONSAFEPATH
        del sys.path[0]
    load_server()
    if sys.argv[1:2] == ["--describe"]:
        from truss_server.worker.describe import main
    else:
        from truss_server.worker.main import main

    main()
