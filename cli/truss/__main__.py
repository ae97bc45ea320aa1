"""The `truss` command; `--version` is answered before anything slow is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `truss` with the arguments of this process, then end the process."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from truss import __version__

        sys.stdout.write(f"truss {__version__}\n")
        return
    try:
        from truss.main import run

        run()
    except KeyboardInterrupt:
        # Before the command line could take care of it: its modules were being imported.
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
