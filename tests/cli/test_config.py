"""config.yaml: what it accepts, and what each mistake in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from truss.config import TrussConfig, load_config
from truss.errors import PackageError
from truss_server.protocol import DEFAULT_CONCURRENCY

FALCON = """\
model_name: falcon-streaming
requirements:
  - torch==2.0.1
  - transformers==4.31.0
resources:
  cpu: "4"
  memory: 16Gi
  use_gpu: true
  accelerator: L4
"""
"""The specification's file, shortened by six requirements."""

HERE = Path()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, so that messages name `config.yaml` only."""
    folder = tmp_path / "Falcon 7B"
    folder.mkdir()
    monkeypatch.chdir(folder)


def load(text: str) -> TrussConfig:
    """Load a configuration with this text."""
    Path("config.yaml").write_text(text)
    return load_config(HERE)


def refused(text: str) -> PackageError:
    """Load a configuration that is wrong and return the error."""
    with pytest.raises(PackageError) as caught:
        load(text)
    return caught.value


def test_the_specifications_file() -> None:
    """The file of the specification loads as it is."""
    config = load(FALCON)

    assert config.model_slug(HERE) == "falcon-streaming"
    assert config.requirements == ("torch==2.0.1", "transformers==4.31.0")
    assert config.resources.model_dump() == {
        "cpu": "4",
        "memory": "16Gi",
        "use_gpu": True,
        "accelerator": "L4",
    }


TRANSPORT = {"kind": "http", "ping_interval_seconds": 20.0, "ping_timeout_seconds": 20.0}


def test_defaults() -> None:
    """An empty file is a whole configuration, and the manifest's copy has every default filled in."""
    config = load("")

    assert config.asked_python is None
    assert config.model_file.as_posix() == "model/model.py"
    assert config.filled() == {
        "model_name": None,
        "description": None,
        "model_metadata": {},
        "python_version": "py311",
        "requirements": [],
        "requirements_file": None,
        "system_packages": [],
        "build_commands": [],
        "environment_variables": {},
        "secrets": {},
        "data_dir": "data",
        "external_data": [],
        "external_package_dirs": [],
        "bundled_packages_dir": "packages",
        "model_module_dir": "model",
        "model_class_filename": "model.py",
        "model_class_name": "Model",
        "base_image": {"image": None, "python_executable_path": None},
        "build": {"secret_to_path_mapping": {}},
        "resources": {"cpu": "1", "memory": "2Gi", "use_gpu": False, "accelerator": None},
        "runtime": {
            "predict_concurrency": DEFAULT_CONCURRENCY,
            "streaming_read_timeout": 60.0,
            "drain_timeout": 30.0,
            "request_timeout": 3600.0,
            "max_queue": 1024,
            "max_body_bytes": 256 * 1024 * 1024,
            "enable_debug_logs": False,
            "enable_tracing_data": False,
            "transport": TRANSPORT,
        },
    }


def test_keys_without_value() -> None:
    """A key without a value is as if it were not there, at every level."""
    text = "requirements:\nenvironment_variables:\nruntime:\nresources: {accelerator: null, cpu: null}\n"

    assert load(text) == load("")


def test_keys_of_truss_that_ask_for_nothing() -> None:
    """A key of Truss that is switched off or empty asks for nothing that is missing here."""
    text = "external_package_dirs: []\nlive_reload: false\nruntime: {health_checks: {}}\n"

    assert load(text) == load("")


def test_keys_that_only_a_cloud_uses() -> None:
    """A package written for a cloud loads; what is not used here is kept for the model, and can be told."""
    config = load(
        "weights: [{source: hf://a/b, mount_location: /models}]\n"
        "runtime: {health_checks: {stop_traffic_threshold_seconds: 9}, predict_concurrency: 2}\n"
        "resources: {node_count: 2}\n"
        "apply_library_patches: false\n"
    )

    assert config.unused() == ["resources.node_count", "runtime.health_checks", "weights"]
    filled = config.filled()
    assert filled["resources"]["node_count"] == 2
    assert filled["weights"] == [{"source": "hf://a/b", "mount_location": "/models"}]
    assert "trt_llm" not in filled


@pytest.mark.parametrize("written", ["py310", '"3.10"', "3.10", "310", "py3.10"])
def test_python_version(written: str) -> None:
    """Every usual way to write a version is the same version: `3.10` is not `3.1`."""
    config = load(f"python_version: {written}\n")

    assert config.python_version == "py310"
    assert config.asked_python == "py310"


@pytest.mark.parametrize("written", ["3.8", "3.15", "2.7", "3.11.4", "latest", "[3.11]"])
def test_python_version_not_offered(written: str) -> None:
    """A version no model can have is refused with those that can be."""
    assert "Take one of 3.9 to 3.14, such as py311." in refused(f"python_version: {written}\n").details


def test_environment_variables() -> None:
    """A variable's value is the text that was written, whatever YAML would make of it."""
    text = (
        "environment_variables: {A: true, B: 1.10, C: 0777, D: yes, E: 'x y', F: '', G: 2024-01-31, ON: 1}\n"
    )

    assert load(text).environment_variables == {
        "A": "true",
        "B": "1.10",
        "C": "0777",
        "D": "yes",
        "E": "x y",
        "F": "",
        "G": "2024-01-31",
        "ON": "1",
    }


def test_values_that_are_no_text() -> None:
    """A configuration made from Python values stringifies variables as YAML writes them."""
    config = TrussConfig(environment_variables={"A": True, "B": 1})  # type: ignore[dict-item]

    assert config.environment_variables == {"A": "true", "B": "1"}


@pytest.mark.parametrize(("written", "cores"), [("4", "4"), ('"4"', "4"), ("0.5", "0.5"), ("500m", "500m")])
def test_cpu(written: str, cores: str) -> None:
    """Cores are a number or text."""
    assert load(f"resources: {{cpu: {written}}}\n").resources.cpu == cores


def test_runtime() -> None:
    """What the author sets for the server reaches the manifest."""
    config = load("runtime: {predict_concurrency: 1, streaming_read_timeout: 0.5, drain_timeout: 0}\n")

    assert config.filled()["runtime"] == {
        "predict_concurrency": 1,
        "streaming_read_timeout": 0.5,
        "drain_timeout": 0.0,
        "request_timeout": 3600.0,
        "max_queue": 1024,
        "max_body_bytes": 256 * 1024 * 1024,
        "enable_debug_logs": False,
        "enable_tracing_data": False,
        "transport": TRANSPORT,
    }


def test_all_problems_at_once() -> None:
    """Every problem is listed in the order of the file: its place, its line, and what to do."""
    error = refused(
        "requiremnts:\n  - torch\nruntime:\n  predict_concurrency: 0\nmodel_name: 7\nexternal_data: [a]\n"
    )

    assert error.exit_code == 3
    assert error.message == "config.yaml has 4 problems."
    assert error.details == (
        "config.yaml:1:1: unknown key `requiremnts`\n"
        "  1 | requiremnts:\n"
        "    | ^\n"
        "  Did you mean `requirements`?\n"
        "\n"
        "config.yaml:4:24: runtime.predict_concurrency: must be greater than or equal to 1\n"
        "  4 |   predict_concurrency: 0\n"
        "    |                        ^\n"
        "\n"
        "config.yaml:5:13: model_name: must be text\n"
        "  5 | model_name: 7\n"
        "    |             ^\n"
        '  Put it in quotes: "7".\n'
        "\n"
        "config.yaml:6:17: external_data.0: must be `key: value` lines\n"
        "  6 | external_data: [a]\n"
        "    |                 ^"
    )


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("predict_concurrency: 2", "1:1", ["unknown key", "Did you mean `runtime.predict_concurrency`?"]),
        ("resources: {gpu: L4}", "1:13", ["`resources` takes cpu, memory, use_gpu, accelerator."]),
        ("whatever: 1", "1:1", ["unknown key `whatever`", "Correct its name, or remove it."]),
        ('base_image: {image: "a\\nRUN b"}', "1:21", ["one line of printable"]),
        ("base_image: {python_executable_path: python3}", "1:38", ["is no absolute path of a program"]),
        ("requirements: torch", "1:15", ["must be a list", "after `- `"]),
        ("requirements: [torch, 7]", "1:23", ["requirements.1: must be text", 'Put it in quotes: "7".']),
        ('requirements: ["a\\nb"]', "1:16", ["one line of printable"]),
        ("requirements: [' ']", "1:16", ["must not be empty"]),
        ("requirements: ['# later']", "1:16", ["must not be empty"]),
        ("requirements:\n  - -r more.txt", "2:5", ["requirements.0: `-r` is not supported"]),
        ("requirements: [./wheels/x]", "1:16", ["is a path on this machine"]),
        ("requirements: [../x-1.0-py3-none-any.whl]", "1:16", ["is a path on this machine"]),
        ("requirements: [a]\nrequirements_file: r.txt", "2:20", ["there is `requirements` too"]),
        ("system_packages: {a: 1}", "1:18", ["must be a list"]),
        ("environment_variables: {A: [1]}", "1:28", ["environment_variables.A: must be text"]),
        ("environment_variables: {A=B: 1}", "1:25", ["is no name of a variable"]),
        ('environment_variables: {A: "x\\0"}', "1:28", ["null character"]),
        ("environment_variables: [A]", "1:24", ["must be `key: value` lines"]),
        ("model_metadata: 3", "1:17", ["must be `key: value` lines"]),
        ("resources: L4", "1:12", ["must be `key: value` lines"]),
        ("resources: {use_gpu: 1}", "1:22", ["must be true or false"]),
        ("resources: {cpu: many}", "1:18", ["`many` is no number of cores"]),
        ("resources: {memory: 2Gb}", "1:21", ["`2Gb` is no amount of memory"]),
        ("resources: {accelerator: 'L4:2:3'}", "1:26", ["is no accelerator"]),
        ("runtime: {predict_concurrency: 1.5}", "1:32", ["must be a whole number"]),
        ("runtime: {predict_concurrency: true}", "1:32", ["must be a whole number"]),
        ("runtime: {streaming_read_timeout: 0}", "1:35", ["must be greater than 0"]),
        ("runtime: {streaming_read_timeout: .inf}", "1:35", ["must be a number"]),
        ("runtime: {drain_timeout: 30s}", "1:26", ["must be a number"]),
        ("secrets: [hf_token]", "1:10", ["must be `key: value` lines"]),
        ("secrets: {hf_token: 7}", "1:21", ["secrets.hf_token: must be text"]),
        ("secrets: {../hf: a}", "1:11", ["is no name of a secret"]),
        ("model_name: 鷹", "1:13", ["needs a letter from a to z or a digit"]),
        ("model_class_name: My Model", "1:19", ["`My Model` is no name of a class"]),
        ("model_class_filename: model.txt", "1:23", ["must be a Python file"]),
    ],
)
def test_problems(text: str, place: str, words: list[str]) -> None:
    """Each mistake is told at its place and in words of its own."""
    error = refused(text)

    assert error.message == "config.yaml has a problem."
    assert error.details.startswith(f"config.yaml:{place}: ")
    assert [word for word in words if word not in error.details] == []


@pytest.mark.parametrize("key", ["data_dir", "bundled_packages_dir", "model_module_dir", "requirements_file"])
@pytest.mark.parametrize(
    "path", ["/etc", "..", "../x", "a/../../b", ".", "~/m", "a\\b", "config.yaml", "release.json/x"]
)
def test_folders_stay_inside(key: str, path: str) -> None:
    """A folder or file of the package is relative, inside it, and nobody else's."""
    assert "Write a path like `model`" in refused(f"{key}: {path}\n").details


def test_folders_are_normalised() -> None:
    """`./weights/` is `weights`."""
    assert load("data_dir: ./weights/\n").data_dir == "weights"


def test_frozen() -> None:
    """A loaded configuration does not change."""
    config = load("")

    with pytest.raises(ValueError, match="frozen"):
        config.model_name = "other"


def test_name_of_the_folder() -> None:
    """Without `model_name` the model is named after the folder."""
    assert load("").model_slug(HERE) == "falcon-7b"


def test_folder_without_a_name() -> None:
    """A folder whose name leaves nothing for a URL says what to write."""
    folder = Path("鷹")
    folder.mkdir()

    with pytest.raises(PackageError) as caught:
        load("").model_slug(folder)

    assert caught.value.hint == "Write `model_name: my-model` into config.yaml."


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("{start_command: serve, readiness_endpoint: /, server_port: 8080}", "8080 is the port in front"),
        (
            "{start_command: serve, readiness_endpoint: /, server_port: 0}",
            "docker_server.server_port: must be",
        ),
        ("{start_command: serve, readiness_endpoint: health}", "`health` is no route"),
        ("{start_command: 'serve \"x', readiness_endpoint: /}", "is no command: no closing quotation"),
        ("{readiness_endpoint: /}", "docker_server.start_command: is missing"),
        (
            "{start_command: serve, readiness_endpoint: /, start_comand: x}",
            "unknown key `docker_server.start_comand`",
        ),
        ("{readiness_endpoint: /, no_build: true}", "docker_server: `no_build` runs an image as it is"),
        ("{start_command: serve, readiness_endpoint: /, run_as_user_id: 0}", "run_as_user_id: must be"),
        ("{start_command: serve, readiness_endpoint: /, run_as_user_id: 60000}", "Truss's own platform"),
    ],
)
def test_a_server_that_cannot_be(tmp_path: Path, written: str, text: str) -> None:
    """What is wrong with `docker_server` is told at its key."""
    (tmp_path / "config.yaml").write_text(f"docker_server: {written}\n")
    with pytest.raises(PackageError) as refused:
        load_config(tmp_path)

    assert text in refused.value.details


def test_a_server_of_truss(tmp_path: Path) -> None:
    """A `docker_server` as packages for Truss have it loads; what is not used here is named."""
    (tmp_path / "config.yaml").write_text(
        "docker_server:\n"
        '  start_command: sh -c "HF_TOKEN=$(cat /secrets/hf) vllm serve x --port 8000"\n'
        "  server_port: 8000\n"
        "  predict_endpoint: /v1/chat/completions\n"
        "  readiness_endpoint: /health\n"
        "  liveness_endpoint: /health\n"
        "  run_as_user_id: 1000\n"
        "  no_build: false\n"
    )
    config = load_config(tmp_path)

    assert config.docker_server is not None
    assert config.docker_server.predict_endpoint == "/v1/chat/completions"
    assert config.docker_server.run_as_user_id == 1000
    assert config.unused() == []


def test_an_image_as_it_is(tmp_path: Path) -> None:
    """`no_build` needs no command, but an image; nothing can be installed into it."""
    text = "base_image: {image: mine:1}\ndocker_server: {readiness_endpoint: /ready, no_build: true}\n"
    (tmp_path / "config.yaml").write_text(text)
    config = load_config(tmp_path)
    assert config.docker_server is not None
    assert config.docker_server.start_command is None

    (tmp_path / "config.yaml").write_text(f"{text}requirements: [idna]\nbuild_commands: ['true']\n")
    with pytest.raises(PackageError) as refused:
        load_config(tmp_path)
    assert "with `no_build`, nothing is made of `requirements` and `build_commands`" in refused.value.details
