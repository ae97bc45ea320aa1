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

SYSTEM = r"""# The system packages that config.yaml asks for, on the base image.
FROM python:3.11-slim AS system
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD truss.parent="python:3.11-slim" truss.base="sha256:1234"
USER root
RUN --mount=type=secret,id=settings/pip.conf,target=/opt/truss/build/settings/pip.conf,mode=0444 \
    --mount=type=secret,id=settings/uv.env,target=/opt/truss/build/settings/uv.env,mode=0444 \
    --mount=type=secret,id=settings/certificates.pem,target=/opt/truss/build/settings/certificates.pem,mode=0444 \
    --mount=type=secret,id=settings/netrc,target=/opt/truss/build/settings/netrc,mode=0444 \
    --mount=type=secret,id=settings/apt.conf,target=/opt/truss/build/settings/apt.conf,mode=0444 \
    --mount=type=bind,source=wheels,target=/opt/truss/build/wheels \
    ["/bin/sh", "-ec", "if [ -e /opt/truss/build/settings/uv.env ]; then . /opt/truss/build/settings/uv.env; export PIP_CONFIG_FILE=/opt/truss/build/settings/pip.conf; fi; command -v apt-get >/dev/null || { echo \"system_packages needs an image with apt-get, and python:3.11-slim has none\" >&2; exit 1; }; apt-get update; DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends ffmpeg; apt-get clean; rm -rf /var/lib/apt/lists/*"]
"""

UV = r"""# uv, which installs what the images below need: it is in none of them, and the same for all models upon this image.
FROM truss-system:<digest> AS uv-install
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD
USER root
SHELL ["/bin/sh", "-c"]
RUN command -v python3 >/dev/null \
 || { echo "python:3.11-slim has no python3: add python3 and python3-venv to system_packages" >&2; exit 1; }; \
    python3 -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 14))' \
 || { echo "python:3.11-slim has $(python3 -V 2>&1), and models run on 3.9 to 3.14" >&2; exit 1; }; \
    for python in python3 /usr/local/bin/python3 /usr/bin/python3 false; do \
      $python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && break; \
    done; [ $python != false ] \
 || { echo "python:3.11-slim has $(python3 -V 2>&1), and the server needs 3.10 or newer: add python3 and python3-venv to system_packages" >&2; exit 1; }; \
    $python -c 'import ensurepip, venv' 2>/dev/null \
 || { echo "python:3.11-slim has no python3-venv: add it to system_packages" >&2; exit 1; }
COPY uv.txt /opt/truss/build/
COPY settings/ /opt/truss/build/settings/
COPY wheels/ /opt/truss/build/wheels/
RUN unset PIP_USER PIP_TARGET PIP_PREFIX; for python in python3 /usr/local/bin/python3 /usr/bin/python3 false; do \
      $python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && break; \
    done; [ $python != false ]; $python -m venv /opt/truss/build/venv \
 && PIP_CONFIG_FILE=/opt/truss/build/settings/pip.conf NETRC=/opt/truss/build/settings/netrc \
    /opt/truss/build/venv/bin/python -m pip install --no-compile -r /opt/truss/build/uv.txt

FROM scratch AS uv
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD truss.parent="truss-system:<digest>" truss.base="sha256:1234"
COPY --from=uv-install /opt/truss/build/venv/bin/uv /bin/
"""

SERVER = r"""# The server, in an environment of its own, and an empty one for the model.
# It is the same for all models with the same base, so it is built once and its layers are stored once.

# The user's settings (an index with a password, perhaps) are in no stage that is kept. As build arguments they
# would stay in the history of the image for anyone to read.
FROM truss-system:<digest> AS server-install
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD
USER root
SHELL ["/bin/sh", "-c"]
COPY requirements.txt /opt/truss/build/
COPY --from=truss-uv:<digest> /bin/ /opt/truss/build/bin/
COPY settings/ /opt/truss/build/settings/
COPY wheels/ /opt/truss/build/wheels/
RUN . /opt/truss/build/settings/uv.env \
 && python3 -m venv --without-pip /opt/model \
 && { for python in python3 /usr/local/bin/python3 /usr/bin/python3 false; do \
      $python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && break; \
    done; [ $python != false ]; } \
 && $python -m venv --without-pip /opt/truss/edge \
 && /opt/truss/build/bin/uv pip install $UV_ARGUMENTS --python /opt/truss/edge/bin/python -r /opt/truss/build/requirements.txt

FROM truss-system:<digest> AS server
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD truss.parent="truss-system:<digest>" truss.base="sha256:1234"
USER root
SHELL ["/bin/sh", "-c"]
COPY --from=server-install /opt/model/ /opt/model/
COPY --from=server-install /opt/truss/edge/ /opt/truss/edge/
COPY server/ /opt/truss/server/
# Compiled here because the user of the container cannot write there; found through a .pth file because
# PYTHONPATH would reach the model too. Some libraries fail where a user has no name in /etc/passwd.
# /opt/truss/build is where the environment's build mounts what it needs: made here, it is the same whoever builds.
RUN /opt/truss/edge/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/truss/server \
 && echo /opt/truss/server >"$(/opt/truss/edge/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/truss_server.pth" \
 && echo 'truss:x:10001:10001::/home/truss:/usr/sbin/nologin' >>/etc/passwd \
 && echo 'truss:x:10001:' >>/etc/group \
 && mkdir -p /app /home/truss/.cache /opt/truss/build/bin /opt/truss/build/cache /opt/truss/build/settings /opt/truss/build/sources /opt/truss/build/wheels \
 && chown -R 10001:10001 /home/truss
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

ENVIRONMENT = r"""# The model's requirements: they alone fill the model's environment, and a file in it says what they came to.
FROM truss-server:<digest> AS environment-install
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD truss.parent="truss-server:<digest>"
USER root
COPY sources/ /opt/truss/build/sources/
COPY --from=truss-uv:<digest> /bin/ /opt/truss/build/bin/
COPY settings/ /opt/truss/build/settings/
COPY wheels/ /opt/truss/build/wheels/
RUN . /opt/truss/build/settings/uv.env \
 && /opt/truss/build/bin/uv pip install $UV_ARGUMENTS --python /opt/model/bin/python \
    -r /opt/truss/build/sources/requirements.txt \
 && /opt/truss/build/bin/uv pip freeze --quiet --python /opt/model/bin/python >/opt/model/requirements.lock \
 && sed -E -i 's|^.* @ file:///opt/truss/build/sources/([^#]*).*$|./\1|' /opt/model/requirements.lock \
 && rm -f /tmp/uv-*.lock

FROM truss-server:<digest> AS environment
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD truss.parent="truss-server:<digest>"
COPY --from=environment-install /opt/model/ /opt/model/
"""

ENVIRONMENT_BUILDKIT = r"""# The model's requirements: they alone fill the model's environment, and a file in it says what they came to.
FROM truss-server:<digest> AS environment
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD truss.parent="truss-server:<digest>"
USER root
RUN --mount=type=bind,from=truss-uv:<digest>,source=/bin,target=/opt/truss/build/bin \
    --mount=type=cache,id=truss-uv,target=/opt/truss/build/cache \
    --mount=type=secret,id=settings/pip.conf,target=/opt/truss/build/settings/pip.conf,mode=0444 \
    --mount=type=secret,id=settings/uv.env,target=/opt/truss/build/settings/uv.env,mode=0444 \
    --mount=type=secret,id=settings/certificates.pem,target=/opt/truss/build/settings/certificates.pem,mode=0444 \
    --mount=type=secret,id=settings/netrc,target=/opt/truss/build/settings/netrc,mode=0444 \
    --mount=type=secret,id=settings/apt.conf,target=/opt/truss/build/settings/apt.conf,mode=0444 \
    --mount=type=bind,source=wheels,target=/opt/truss/build/wheels \
    --mount=type=bind,source=sources,target=/opt/truss/build/sources \
    . /opt/truss/build/settings/uv.env \
 && /opt/truss/build/bin/uv pip install $UV_ARGUMENTS --python /opt/model/bin/python \
    -r /opt/truss/build/sources/requirements.txt \
 && /opt/truss/build/bin/uv pip freeze --quiet --python /opt/model/bin/python >/opt/model/requirements.lock \
 && sed -E -i 's|^.* @ file:///opt/truss/build/sources/([^#]*).*$|./\1|' /opt/model/requirements.lock \
 && rm -f /tmp/uv-*.lock
USER 10001:10001
"""

COMMANDS = r"""# The build commands of config.yaml: each runs as root, and finds the model's environment first.
FROM truss-environment:<digest> AS commands
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD truss.parent="truss-environment:<digest>"
USER root
WORKDIR /app
RUN --mount=type=bind,from=truss-uv:<digest>,source=/bin,target=/opt/truss/build/bin \
    --mount=type=cache,id=truss-uv,target=/opt/truss/build/cache \
    --mount=type=secret,id=settings/pip.conf,target=/opt/truss/build/settings/pip.conf,mode=0444 \
    --mount=type=secret,id=settings/uv.env,target=/opt/truss/build/settings/uv.env,mode=0444 \
    --mount=type=secret,id=settings/certificates.pem,target=/opt/truss/build/settings/certificates.pem,mode=0444 \
    --mount=type=secret,id=settings/netrc,target=/opt/truss/build/settings/netrc,mode=0444 \
    --mount=type=secret,id=settings/apt.conf,target=/opt/truss/build/settings/apt.conf,mode=0444 \
    --mount=type=bind,source=wheels,target=/opt/truss/build/wheels \
    --mount=type=secret,id=token,target=/root/token,mode=0444,required=true \
    ["/bin/sh", "-ec", "unset TRUSS_BUILD; export PATH=/opt/model/bin:$PATH PIP_PYTHON=/opt/model/bin/python VIRTUAL_ENV=/opt/model; if [ -e /opt/truss/build/settings/uv.env ]; then . /opt/truss/build/settings/uv.env; export PIP_CONFIG_FILE=/opt/truss/build/settings/pip.conf; fi; echo \"a b\" > /opt/c"]
RUN ["/bin/sh", "-ec", "[ -s /root/token ] || [ /root/token -ot /opt/truss/edge/pyvenv.cfg ] || rm -f /root/token; chown -R 10001:10001 /home/truss"]
USER 10001:10001
"""

DATA = r"""# The package's data: an edit of the code then sends none of it to the engine again.
FROM truss-commands:<digest> AS data
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD truss.parent="truss-commands:<digest>"
COPY data/ /app/
"""

PACKAGES = r"""# The code that the model's own imports, which is edited less often.
FROM truss-data:<digest> AS packages
ARG TRUSS_BUILD
LABEL truss.build=$TRUSS_BUILD truss.parent="truss-data:<digest>"
COPY packages/ /app/
"""

RELEASE = r"""# The code: what changes most often. One LABEL, because each instruction takes the engine a tenth of a second.
FROM truss-packages:<digest> AS release
ARG TRUSS_BUILD TRUSS_RELEASE TRUSS_PACKAGE TRUSS_REQUIREMENTS TRUSS_OPENAPI=/openapi.json TRUSS_OPENAPI_OF
LABEL truss.build=$TRUSS_BUILD truss.parent="truss-packages:<digest>" \
      truss.release=$TRUSS_RELEASE truss.package=$TRUSS_PACKAGE truss.requirements=$TRUSS_REQUIREMENTS \
      truss.openapi_of=$TRUSS_OPENAPI_OF \
      truss.model=demo truss.digest=<digest> truss.tool_version=0.1.0 \
      truss.openapi=$TRUSS_OPENAPI truss.drain_timeout=30.0 truss.gpus=0 \
      truss.secrets="" truss.cache="3a6b211f"
COPY release/ /app/
"""


def test_the_dockerfiles_of_a_package_that_takes_all_images(tmp_path: Path) -> None:
    """Each image is made from the one before; digests vary with the server's code and stand as `<digest>` here."""
    package = build_tree(tmp_path / "demo", {"data/weights.bin": "1", "model/model.py": "", "packages/helper.py": ""})
    plan = make_plan(package, "demo", ("idna==3.10",), system_packages=["ffmpeg"], build_commands=["echo \"a b\" > /opt/c"],
                     build={"secret_to_path_mapping": {"token": "/root/token"}})
    images = plan_images(plan, "sha256:1234")

    names = {image.kind: ["Dockerfile"] for image in images}
    names |= {kind: ["Dockerfile.buildkit"] for kind in ("system", "commands")}
    names["environment"] += ["Dockerfile.buildkit"]

    rendered = [
        re.sub(r"(:|digest=)[0-9a-f]{12,}\b", r"\1<digest>", member.content.decode())
        for image in images
        for member in image.context.members
        if member.path.name in names[image.kind] and isinstance(member.content, bytes)
    ]

    assert rendered == [SYSTEM, UV, SERVER, ENVIRONMENT, ENVIRONMENT_BUILDKIT, COMMANDS, DATA, PACKAGES, RELEASE]


def test_the_pinned_server_is_one_the_tool_allows() -> None:
    """What runs in an image lies within what `pyproject.toml` asks for."""
    pins = (files("truss_templates") / "docker" / "requirements.txt").read_text(encoding="utf-8")
    pinned = [Requirement(line) for line in pins.splitlines() if not line.startswith("#")]
    allowed = {wanted.name: wanted.specifier for wanted in map(Requirement, requires("truss") or ())}

    versions = [(pin.name, next(iter(pin.specifier)).version) for pin in pinned]

    assert {"fastapi", "httptools", "orjson", "uvicorn", "uvloop"} <= {name for name, _ in versions}
    assert [pin for pin in versions if pin[0] in allowed and pin[1] not in allowed[pin[0]]] == []
