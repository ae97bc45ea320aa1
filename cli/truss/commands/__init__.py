"""One module a command: parse, call one core function, print.

Each module has one function, `command`, that Typer turns into the command of the module's name, or `COMMANDS`,
the functions of a group's commands by their names.
`truss.main` imports a module only when its command runs; what `truss --help` says of it is here.
"""

from __future__ import annotations

SUMMARIES = {
    "init": "Make a new package from a template.",
    "push": "Build the package and run it, then say where it answers.",
    "watch": "Make every save live in the deployment in development.",
    "predict": "Call a deployed model; its answer appears as it is produced.",
    "list": "Show what is deployed.",
    "logs": "Show what a deployed model prints and logs.",
    "stop": "Stop a deployed model.",
    "image": "Build the image of a package, run it, or write its build context.",
    "secrets": "Keep secrets that models ask for.",
    "config": "Check config.yaml, show it with its defaults, or print its schema.",
}
"""Every command with its one-line help, in the order in which a newcomer meets them."""
