"""What in config.yaml has to fit together. Told of what is written there, whatever else is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from truss.config_values import unquoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from truss.yaml_source import Location

INSTALLED = ("requirements", "requirements_file", "system_packages", "build_commands")
"""Keys of what is installed into an image."""

Broken = tuple["Location", str, str]
"""Where a rule is broken, what is wrong, and what to do."""


def broken_rules(data: Mapping[str, Any]) -> Iterator[Broken]:
    """Yield what does not fit together in a configuration that was read."""
    if data.get("requirements") and data.get("requirements_file"):
        yield ("requirements_file",), "there is `requirements` too", "Keep one of the two."
    server = data.get("docker_server")
    if isinstance(server, dict):
        yield from _of_a_server(server, data)


def _of_a_server(server: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Broken]:
    if not unquoted(server.get("no_build")):
        if server.get("start_command") is None:
            advice = "An image that has a command of its own needs none with `no_build: true`."
            yield ("docker_server", "start_command"), "is missing", advice
        return
    image = data.get("base_image")
    if not image or (isinstance(image, dict) and not image.get("image")):
        problem = "`no_build` runs an image as it is, and none is named"
        yield ("docker_server",), problem, "Name it in `base_image.image`."
    if installed := [key for key in INSTALLED if data.get(key)]:
        keys = " and ".join(f"`{key}`" for key in installed)
        yield (
            ("docker_server",),
            f"with `no_build`, nothing is made of {keys}",
            f"Remove {keys}, or `no_build`.",
        )
