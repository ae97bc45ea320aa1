"""Every key of Truss's config.yaml: values that people write load, and those that can only go wrong are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from truss.config import TrussConfig, load_config
from truss.errors import PackageError

if TYPE_CHECKING:
    from pathlib import Path

ACCEPTED = [
    ("model_name: Falcon 7B / chat", "model_name", "Falcon 7B / chat"),
    ("description: A model", "description", "A model"),
    ("model_metadata: {tags: [a], example_model_input: {x: 1}}", "model_metadata.tags", ["a"]),
    ("model_metadata:", "model_metadata", {}),
    ("python_version: py39", "python_version", "py39"),
    ("python_version: py314", "python_version", "py314"),
    ('python_version: "3.11"', "python_version", "py311"),
    ("python_version: 3.10", "python_version", "py310"),
    ("requirements:", "requirements", []),
    ("requirements: [torch==2.0.1, 'x @ https://example.org/x.whl']", "requirements.0", "torch==2.0.1"),
    (
        "requirements: [./wheels/ours-1.0-py3-none-any.whl]",
        "requirements.0",
        "./wheels/ours-1.0-py3-none-any.whl",
    ),
    ("requirements_file: ./requirements.txt", "requirements_file", "requirements.txt"),
    ("requirements_file: pyproject.toml", "requirements_file", "pyproject.toml"),
    ("requirements_file: deps/uv.lock", "requirements_file", "deps/uv.lock"),
    ("system_packages: [ffmpeg libsm6, git]", "system_packages.0", "ffmpeg libsm6"),
    ("environment_variables:", "environment_variables", {}),
    ("environment_variables: {A: a, hf_access_token: null}", "environment_variables", {"A": "a"}),
    ("environment_variables: {A: true, B: 1, C: 007, D: 1.50}", "environment_variables.D", "1.50"),
    ("secrets: {hf_access_token: null, other: default}", "secrets.other", "default"),
    ("secrets: {}", "secrets", {}),
    ("data_dir: weights", "data_dir", "weights"),
    (
        "external_data: [{url: https://example.org/x, local_data_path: a/x, backend: http_public, name: x}]",
        "external_data.0.local_data_path",
        "a/x",
    ),
    ("external_data:", "external_data", []),
    ("external_package_dirs: [../shared, lib/]", "external_package_dirs", ["../shared", "lib"]),
    ("external_package_dirs: []", "external_package_dirs", []),
    ("bundled_packages_dir: lib", "bundled_packages_dir", "lib"),
    ("model_module_dir: src", "model_module_dir", "src"),
    ("model_class_filename: falcon.py", "model_class_filename", "falcon.py"),
    ("model_class_name: Falcon", "model_class_name", "Falcon"),
    (
        "system_packages: [git=1:2.39~rc1-1+deb12, 'libc6:amd64', 'ffmpeg/bookworm']",
        "system_packages.2",
        "ffmpeg/bookworm",
    ),
    ("resources: {memory: 1024}", "resources.memory", "1024"),
    ("resources: {memory: '1024'}", "resources.memory", "1024"),
    ("resources: {accelerator: l4}", "resources.accelerator", "L4"),
    ("resources: {accelerator: 'rtx_pro_6000:2'}", "resources.accelerator", "RTX_PRO_6000:2"),
    ("resources: {accelerator: A100_80GB}", "resources.accelerator", "A100_80GB"),
    ("build_commands: [\"printf 'a\\tb'\"]", "build_commands.0", "printf 'a\tb'"),
    (
        "docker_server: {start_command: x, readiness_endpoint: /, run_as_user_id: '1000'}",
        "docker_server.run_as_user_id",
        1000,
    ),
    ("resources: {accelerator: ''}", "resources.accelerator", None),
    ("resources: {use_gpu: 'true'}", "resources.use_gpu", True),
    ("resources: {cpu: 4}", "resources.cpu", "4"),
    ('resources: {cpu: "1"}', "resources.cpu", "1"),
    ("resources: {cpu: 500m}", "resources.cpu", "500m"),
    ("resources: {memory: 512Mi}", "resources.memory", "512Mi"),
    ("resources: {memory: 1.5G}", "resources.memory", "1.5G"),
    ("resources: {accelerator: null, use_gpu: false}", "resources.accelerator", None),
    ("resources: {accelerator: 'A100:2'}", "resources.accelerator", "A100:2"),
    ("resources: {accelerator: H100_40GB}", "resources.accelerator", "H100_40GB"),
    ("resources: {use_gpu: true}", "resources.use_gpu", True),
    ("resources: {instance_type: 'L4:4x16', node_count: 1}", "resources.node_count", 1),
    ("runtime: {predict_concurrency: 256}", "runtime.predict_concurrency", 256),
    ("runtime: {predict_concurrency: '4'}", "runtime.predict_concurrency", 4),
    ("runtime: {predict_concurrency: 4.0}", "runtime.predict_concurrency", 4),
    ("runtime: {drain_timeout: '2.5'}", "runtime.drain_timeout", 2.5),
    ("runtime: {streaming_read_timeout: 60}", "runtime.streaming_read_timeout", 60.0),
    ("runtime: {enable_tracing_data: false, enable_debug_logs: true}", "runtime.enable_debug_logs", True),
    (
        "runtime: {transport: {kind: websocket, ping_interval_seconds: null}}",
        "runtime.transport",
        {"kind": "websocket", "ping_interval_seconds": 20.0, "ping_timeout_seconds": 20.0},
    ),
    ("runtime: {transport: {}}", "runtime.transport.kind", "http"),
    ("runtime: {transport: {ping_timeout_seconds: 5}}", "runtime.transport.ping_timeout_seconds", 5.0),
    ("runtime: {health_checks: {restart_threshold_seconds: 300}}", "runtime.max_queue", 1024),
    ("build: {model_server: TrussServer, arguments: {}}", "build.model_server", "TrussServer"),
    (
        "build_commands:\n- >\n  cd ComfyUI &&\n  git checkout main\n",
        "build_commands.0",
        "cd ComfyUI && git checkout main",
    ),
    ("build_commands:\n- |\n  make && \\\n    make install\n", "build_commands.0", "make && make install"),
    (
        "build: {secret_to_path_mapping: {my-github-access-token: /root/my-github-access-token}, no_cache: true}",
        "build.secret_to_path_mapping.my-github-access-token",
        "/root/my-github-access-token",
    ),
    ("build_commands: [pip list]", "build_commands.0", "pip list"),
    (
        "base_image: {image: 'nvidia/cuda:12.8.1-base-ubuntu22.04'}",
        "base_image.image",
        "nvidia/cuda:12.8.1-base-ubuntu22.04",
    ),
    (
        "base_image: {python_executable_path: /usr/bin/python3}",
        "base_image.python_executable_path",
        "/usr/bin/python3",
    ),
    (
        "base_image: {image: x, docker_auth: {auth_method: GCP_SERVICE_ACCOUNT_JSON, secret_name: s, registry: r}}",
        "base_image.docker_auth.secret_name",
        "s",
    ),
    (
        "base_image: {image: 'reg.Example.org:5000/a/b_c:1.0-x@sha256:" + "0" * 64 + "'}",
        "base_image.image",
        f"reg.Example.org:5000/a/b_c:1.0-x@sha256:{'0' * 64}",
    ),
    ("base_image: {image: vllm/vllm-openai:latest}", "base_image.image", "vllm/vllm-openai:latest"),
    ("base_image:", "base_image.image", None),
    ("model_cache: [{repo_id: tiiuae/falcon-7b, revision: main}]", "model_cache.0.revision", "main"),
    ("weights: [{source: 'hf://tiiuae/falcon-7b', mount_location: /w}]", "weights.0.mount_location", "/w"),
    ("live_reload: true", "live_reload", True),
    ("apply_library_patches: true", "apply_library_patches", True),
    ("examples_filename: examples.yaml", "examples_filename", "examples.yaml"),
    ("input_type: Any", "input_type", "Any"),
    ("model_framework: custom", "model_framework", "custom"),
    ("model_type: Model", "model_type", "Model"),
    ("spec_version: '2.0'", "spec_version", "2.0"),
    ("train: {variables: {}, training_class_name: Train}", "train.training_class_name", "Train"),
    ("use_local_src: true", "use_local_src", True),
    ("trt_llm: {build: {base_model: llama}}", "trt_llm.build.base_model", "llama"),
]

COMMANDS = [
    (">\n    vllm serve m\n    --port 8000\n", "vllm serve m --port 8000"),
    (
        '>-\n    sh -c "N=$(nproc) && vllm serve /m\n    --size $N"\n',
        'sh -c "N=$(nproc) && vllm serve /m --size $N"',
    ),
    ("|\n    vllm serve m \\\n      --port 8000\n", "vllm serve m --port 8000"),
    ("|\n    bash -lc 'cd /x\n    exec serve'\n", "bash -lc 'cd /x\nexec serve'"),
    ("""tini -- /bin/sh -c 'exec serve "$MODEL"'""", """tini -- /bin/sh -c 'exec serve "$MODEL"'"""),
    (
        "python -m http.server ${PORT} --directory '$HOME'",
        "python -m http.server ${PORT} --directory '$HOME'",
    ),
    ("serve --url http://x?a=1&b=2", "serve --url http://x?a=1&b=2"),
    ("serve --chat \"a | b > 'c\" --x '&& $Y'", "serve --chat \"a | b > 'c\" --x '&& $Y'"),
]

OF_A_SHELL = [
    ("cd server && python app.py", "cd"),
    ("python app.py && echo done", "&&"),
    ("python app.py > log", ">"),
    ("HF_TOKEN=x vllm serve m", "HF_TOKEN=x"),
    ("vllm serve $MODEL --port $PORT", "$MODEL"),
    ("vllm serve m --key $(cat /secrets/key)", "$(cat"),
    ("vllm serve m --name=${NAME}", "--name=${NAME}"),
    ('vllm serve "$MODEL"', '"$MODEL"'),
]

REFUSED = [
    ("python_version: 3.11.4", "such as py311."),
    ("python_version: python3.12", "such as py312."),
    ("python_version: 2.7", "such as py311."),
    ("system_packages: ['ffmpeg, git']", "`ffmpeg,` is no name of a Debian package"),
    ("system_packages: ['git; true']", "`git;` is no name of a Debian package"),
    ("build_commands:\n- |\n  make\n  make install\n", "Make each an item of its own"),
    ("secrets: [hf_access_token]", "For example: `secrets: {hf_access_token: null}`."),
    ("base_image: python:3.11", "`base_image` takes image, python_executable_path."),
    ("base_image: {image: 'https://ghcr.io/a'}", "is no name of an image"),
    ("base_image: {image: Ours/Base}", "is no name of an image"),
    ("base_image: {image: 'a._b:1'}", "is no name of an image"),
    ("resources: {memory: 16 GB}", "`16 GB` is no amount of memory"),
    ("resources: {memory: 0Gi}", "`0Gi` is no amount of memory"),
    ("resources: {memory: 0.0}", "`0.0` is no amount of memory"),
    ("resources: {memory: '٣Gi'}", "`٣Gi` is no amount of memory"),
    ("resources: {cpu: 0}", "`0` is no number of cores"),
    ("resources: {cpu: 0m}", "`0m` is no number of cores"),
    ("resources: {cpu: '٣'}", "`٣` is no number of cores"),
    ("resources: {accelerator: None}", "Leave `accelerator` out"),
    ("resources: {accelerator: none}", "Leave `accelerator` out"),
    ("resources: {accelerator: cpu}", "Leave `accelerator` out"),
    ("resources: {accelerator: 'CPU:2'}", "`CPU` is no accelerator"),
    ("system_packages: [-y]", "`-y` is no name of a Debian package"),
    ("system_packages: [--allow-unauthenticated git]", "`--allow-unauthenticated` is no name"),
    ("system_packages: [git-]", "`git-` is no name of a Debian package"),
    ("environment_variables: {'A B': x}", "is no name of a variable"),
    ('environment_variables: {"A\\nB": x}', "is no name of a variable"),
    ('environment_variables: {"A": "\\ud800"}', "half a character"),
    ('build_commands: ["echo \\e[1m"]', "Take out the character '\\x1b'."),
    ("resources: {use_gpu: 1}", "For example: `use_gpu: true`."),
    ("runtime: {predict_concurrency: true}", "must be a whole number"),
    ("runtime: {transport: {kind: grpc}}", "no gRPC"),
    ("runtime: {transport: {kind: udp}}", "runtime.transport.kind"),
    ("runtime: {transport: {ping_interval_seconds: 0}}", "must be greater than 0"),
    ("model_name: 7", "must be text"),
    ("python_version: py38", "is no version of Python for models"),
    ("python_version: 3.15", "is no version of Python for models"),
    ("requirements: torch", "must be a list"),
    ("requirements: [-e .]", "installs code in place"),
    ("requirements: [a]\nrequirements_file: r.txt", "there is `requirements` too"),
    ("requirements_file: ../r.txt", "must lie inside the package"),
    ("build: {secret_to_path_mapping: {token: token}}", "is no absolute path of a file"),
    ("build: {secret_to_path_mapping: {token: /etc/../token}}", "is no absolute path of a file"),
    ("build: {secret_to_path_mapping: {token: '/a,required=false'}}", "is no absolute path of a file"),
    ("build: {secret_to_path_mapping: {a: /token, b: /token}}", "gives two secrets the same path"),
    ("build: {secret_to_path_mapping: {a: /x/token, b: /x/token/y}}", "puts `/x/token/y` below the file"),
    ("build: {secret_to_path_mapping: {a: /bin/sh}}", "would hide what the commands need"),
    ("build: {secret_to_path_mapping: {a: /usr/bin}}", "would hide what the commands need"),
    ("build: {secret_to_path_mapping: {a: /opt}}", "would hide what the commands need"),
    ("build: {secret_to_path_mapping: {a: /opt/model/token}}", "would hide what the commands need"),
    ("build: {secret_to_path_mapping: {a/b: /token}}", "is no name of a secret"),
    ("secrets: [a]", "must be `key: value` lines"),
    ("external_data: [{url: 'ftp://x/y', local_data_path: y}]", "is no URL"),
    ("external_data: [{local_data_path: y}]", "external_data.0.url: is missing"),
    ("external_data: [{url: 'https://x/y'}]", "external_data.0.local_data_path: is missing"),
    ("external_data: [{url: 'https://x/y', local_data_path: ../y}]", "must lie inside the package"),
    ("external_data: [{url: 'https://x/y', local_data_path: y, backend: s3}]", "external_data.0.backend"),
    ("external_data: [{url: 'https://x/y', local_data_path: y, sha256: abc}]", "is no SHA-256"),
    (
        "external_data: [{url: 'https://x/y', local_data_path: y, sha: abc}]",
        "`external_data.0` takes url",
    ),
    ("external_package_dirs: [/opt/shared]", "must be relative"),
    ("external_package_dirs: ../shared", "must be a list"),
    ("model_class_name: a-b", "is no name of a class"),
    ("resources: {cpu: many}", "is no number of cores"),
    ("resources: {memory: 2Gb}", "is no amount of memory"),
    ("resources: {accelerator: 'L4:2:3'}", "is no accelerator"),
    ("resources: {accelerator: 'L4:0'}", "is no accelerator"),
    ("runtime: {predict_concurrency: 0}", "must be greater than or equal to 1"),
    ("runtime: {predict_concurrency: -1}", "must be greater than or equal to 1"),
    ("base_image: {python_executable_path: python3}", "is no absolute path of a program"),
    ("base_image: {python_executable_path: '/x; rm -rf /'}", "is no absolute path of a program"),
    ("[a]", "`key: value` lines are expected"),
    ("foo: 1", "unknown key `foo`"),
]


def written(folder: Path, text: str) -> Path:
    """Write a config.yaml and return its folder."""
    (folder / "config.yaml").write_text(text + "\n")
    return folder


@pytest.mark.parametrize(("text", "key", "value"), ACCEPTED)
def test_accepted(tmp_path: Path, text: str, key: str, value: object) -> None:
    """A file that Truss's users have loads and says what they meant."""
    found: Any = load_config(written(tmp_path, text)).filled()
    for part in key.split("."):
        found = found[int(part) if isinstance(found, list) else part]

    assert found == value


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_refused(tmp_path: Path, text: str, words: str) -> None:
    """A value that can only go wrong later is refused at once."""
    with pytest.raises(PackageError) as caught:
        load_config(written(tmp_path, text))

    assert words in caught.value.message + caught.value.details


@pytest.mark.parametrize(("written_as", "command"), COMMANDS)
def test_commands_of_servers(tmp_path: Path, written_as: str, command: str) -> None:
    """A command may be folded, go over several lines, and bring a shell."""
    text = f"docker_server:\n  readiness_endpoint: /health\n  start_command: {written_as}"
    server = load_config(written(tmp_path, text)).docker_server

    assert server is not None
    assert server.start_command == command


@pytest.mark.parametrize(("command", "word"), OF_A_SHELL)
def test_commands_that_want_a_shell(tmp_path: Path, command: str, word: str) -> None:
    """What would be handed to the program instead of having its effect is refused."""
    text = f"docker_server:\n  readiness_endpoint: /health\n  start_command: {command}"

    with pytest.raises(PackageError) as caught:
        load_config(written(tmp_path, text))

    assert f"`{word}` means something to a shell, and it is run without one" in caught.value.details
    assert 'Write it as `sh -c "..."`' in caught.value.details


def test_variables_that_are_given(tmp_path: Path) -> None:
    """A variable that the server sets itself is named as one that has no effect."""
    text = "environment_variables: {PORT: 80, TRUSS_ENVIRONMENT: x, A: b}\n"
    text += "runtime: {enable_debug_logs: true, transport: {kind: websocket}}\n"
    server = "docker_server: {start_command: serve, readiness_endpoint: /}\n"
    of_a_model = load_config(written(tmp_path, text)).unused()

    assert of_a_model == ["environment_variables.TRUSS_ENVIRONMENT"]
    assert load_config(written(tmp_path, text + server)).unused() == [
        "runtime.enable_debug_logs",
        "runtime.transport",
        "environment_variables.PORT",
        "environment_variables.TRUSS_ENVIRONMENT",
    ]


def test_every_key_is_in_the_table() -> None:
    """A key that is added gets a line above."""
    named = {text.partition(":")[0] for text, *_ in ACCEPTED}
    elsewhere = {"bis_llm", "cache_internal", "docker_server", "hf_cache", "training_checkpoints", "runtime"}

    assert set(TrussConfig.model_fields) - named - elsewhere == set()
