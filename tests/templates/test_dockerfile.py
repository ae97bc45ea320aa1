"""The Dockerfiles as they are sent to the engine: a review sees every change here."""

# ruff: noqa: E501 lines of a Dockerfile are as long as they are

from __future__ import annotations

import re
from importlib.metadata import requires
from importlib.resources import files
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from tests.helpers import build_tree
from tests.plans import make_plan
from truss.images import plan_images

if TYPE_CHECKING:
    from pathlib import Path

SYSTEM = r"""# Image 1 of 6, where config.yaml asks for system packages: they lie on the base image.
FROM python:3.11-slim
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD truss.parent="python:3.11-slim" truss.base="sha256:1234"
USER root
RUN command -v apt-get >/dev/null \
 || { echo "system_packages needs an image with apt-get, and python:3.11-slim has none" >&2; exit 1; }
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ffmpeg \
 && rm -rf /var/lib/apt/lists/*
"""

SERVER = r"""# Image 2 of 6: the server, in an environment of its own, and an empty one for the model.
# It is the same for all models with the same base, so it is built once and its layers are stored once.

# The user's pip settings (an index with a password, perhaps) are files of a stage that is deleted after
# the build. As build arguments they would stay in the history of the image for anyone to read.
FROM truss-system:<digest> AS install
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD
USER root
RUN command -v python3 >/dev/null \
 || { echo "python:3.11-slim has no python3: add python3 and python3-venv to system_packages" >&2; exit 1; }; \
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
 || { echo "python:3.11-slim has $(python3 -V 2>&1), and the server needs 3.10 or newer" >&2; exit 1; }; \
    python3 -c 'import ensurepip, venv' 2>/dev/null \
 || { echo "python:3.11-slim has no python3-venv: add it to system_packages" >&2; exit 1; }
COPY settings/ /tmp/settings/
COPY requirements.txt /tmp/
RUN python3 -m venv --without-pip /opt/model \
 && python3 -m venv /opt/truss/edge \
 && PIP_CONFIG_FILE=/tmp/settings/pip.conf /opt/truss/edge/bin/python -m pip install -r /tmp/requirements.txt

FROM truss-system:<digest>
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD truss.parent="truss-system:<digest>" truss.base="sha256:1234"
USER root
COPY --from=install /opt/model/ /opt/model/
COPY --from=install /opt/truss/edge/ /opt/truss/edge/
COPY server/ /opt/truss/server/
# Compiled here because the user of the container cannot write there; found through a .pth file because
# PYTHONPATH would reach the model too. Some libraries fail where a user has no name in /etc/passwd.
RUN /opt/truss/edge/bin/python -m compileall -q /opt/truss/server \
 && echo /opt/truss/server >"$(/opt/truss/edge/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/truss_server.pth" \
 && echo 'truss:x:10001:10001::/home/truss:/usr/sbin/nologin' >>/etc/passwd \
 && echo 'truss:x:10001:' >>/etc/group \
 && mkdir -p /app /home/truss \
 && chown 10001:10001 /home/truss
# The release in /app belongs to root: a model writes to its home and to /tmp.
ENV HOME=/home/truss
USER 10001:10001
WORKDIR /app
EXPOSE 8080
STOPSIGNAL SIGTERM
# "starting" until the model is loaded, which may take long: a model that cannot be loaded ends the server.
HEALTHCHECK --start-period=1h --interval=15s --timeout=5s --retries=3 CMD ["/opt/truss/edge/bin/python", "-I", "-c", \
    "import http.client as http; c = http.HTTPConnection('127.0.0.1', 8080, timeout=4); c.request('GET', '/health/ready'); raise SystemExit(c.getresponse().status != 200)"]
# -I: neither the folder of the release nor the model's environment variables may change what the server imports.
ENTRYPOINT ["/opt/truss/edge/bin/python", "-I", "-m", "truss_server.edge", "--release", "/app", "--python", "/opt/model/bin/python", "--host", "0.0.0.0", "--port", "8080"]
"""

ENVIRONMENT = r"""# Image 3 of 6, where the model has requirements: they alone fill the model's environment.

# As for the server, the user's pip settings are in no layer that is kept.
FROM truss-server:<digest> AS install
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD
USER root
COPY settings/ /tmp/settings/
COPY requirements.txt /tmp/
# pip is the server's: the model's environment has none unless its author asks for it.
RUN PIP_CONFIG_FILE=/tmp/settings/pip.conf \
    /opt/truss/edge/bin/python -m pip --python /opt/model/bin/python install -r /tmp/requirements.txt

FROM truss-server:<digest>
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD truss.parent="truss-server:<digest>"
COPY --from=install /opt/model/ /opt/model/
"""

COMMANDS = r"""# Image 4 of 6, where config.yaml has build commands: each runs as root, and finds the model's environment first.
FROM truss-environment:<digest>
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD truss.parent="truss-environment:<digest>"
USER root
WORKDIR /app
RUN ["/bin/sh", "-ec", "export PATH=/opt/model/bin:$PATH; echo \"a b\" > /opt/c"]
USER 10001:10001
"""

DATA = r"""# Image 5 of 6, where the package has data: an edit of the code then sends none of it to the engine again.
FROM truss-commands:<digest>
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD truss.parent="truss-commands:<digest>"
COPY release/ /app/
"""

RELEASE = r"""# Image 6 of 6: what changes most often. One LABEL, because each instruction takes the engine a tenth of a second.
FROM truss-data:<digest>
ARG TRUSS_BUILD TRUSS_RELEASE TRUSS_PACKAGE
LABEL truss.build=$TRUSS_BUILD truss.parent="truss-data:<digest>" \
      truss.model=demo truss.release=$TRUSS_RELEASE truss.digest=<digest> \
      truss.package=$TRUSS_PACKAGE truss.tool_version=0.1.0 \
      truss.drain_timeout=30.0 truss.secrets=""
COPY release/ /app/
"""


def test_the_dockerfiles_of_a_package_that_takes_all_images(tmp_path: Path) -> None:
    """Each image is made from the one before; digests vary with the server's code and stand as `<digest>` here."""
    package = build_tree(tmp_path / "demo", {"data/weights.bin": "1", "model/model.py": ""})
    plan = make_plan(package, "demo", ("idna==3.10",), system_packages=["ffmpeg"], build_commands=["echo \"a b\" > /opt/c"])

    rendered = [
        re.sub(r"(:|digest=)[0-9a-f]{12,}\b", r"\1<digest>", member.content.decode())
        for image in plan_images(plan, "sha256:1234")
        for member in image.context.members
        if member.path.name == "Dockerfile" and isinstance(member.content, bytes)
    ]

    assert rendered == [SYSTEM, SERVER, ENVIRONMENT, COMMANDS, DATA, RELEASE]


def test_the_pinned_server_is_one_the_tool_allows() -> None:
    """What runs in an image lies within what `pyproject.toml` asks for."""
    pins = (files("truss_templates") / "docker" / "requirements.txt").read_text(encoding="utf-8")
    pinned = [Requirement(line) for line in pins.splitlines() if not line.startswith("#")]
    allowed = {wanted.name: wanted.specifier for wanted in map(Requirement, requires("truss") or ())}

    versions = [(pin.name, next(iter(pin.specifier)).version) for pin in pinned]

    assert {"fastapi", "httptools", "orjson", "uvicorn", "uvloop"} <= {name for name, _ in versions}
    assert [pin for pin in versions if pin[0] in allowed and pin[1] not in allowed[pin[0]]] == []
