"""config.yaml: what it accepts, and what each mistake in it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from truss.config import TrussConfig, load_config
from truss.config_pages import format_config
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


def test_values_that_are_empty_in_truss() -> None:
    """Where Truss writes an empty text for what is not given, it is as if the key were not there."""
    text = "base_image: {image: '', python_executable_path: ''}\nrequirements_file: ''\n"

    assert load(f"requirements: [torch]\n{text}") == load("requirements: [torch]\nbase_image: {}\n")


def test_keys_of_truss_that_ask_for_nothing() -> None:
    """A key of Truss that is off or empty is nothing that is missing here, but the model gets it as it is written."""
    config = load(
        "apply_library_patches: false\nlive_reload: false\nweights: []\nresources: {node_count: 0}\n"
        "external_package_dirs: []\ntrt_llm:\n"
        "runtime: {health_checks: {}, oidc: {enabled: null}, remote_ssh: {enabled: false}}\n"
    )
    filled = config.filled()

    assert config.unused() == []
    assert (filled["apply_library_patches"], filled["live_reload"], filled["weights"]) == (False, False, [])
    assert filled["resources"]["node_count"] == 0
    assert filled["runtime"]["health_checks"] == {}
    assert filled["runtime"]["remote_ssh"] == {"enabled": False}
    assert "trt_llm" not in filled


def test_logins_of_registries() -> None:
    """The name that Truss has for a registry's login is accepted, told once, and nothing that a model gets."""
    config = load(
        'secrets: {"DOCKER_REGISTRY_https://registry.example.org/v1/": null, hf_access_token: null}\n'
    )

    assert config.unused() == ["secrets.DOCKER_REGISTRY_https://registry.example.org/v1/"]
    assert config.listed_unused() == (
        "secrets.DOCKER_REGISTRY_https://registry.example.org/v1/. Registries know you by `docker login`."
    )
    assert config.model_secrets == {"hf_access_token": None}
    assert config.filled()["secrets"] == {"hf_access_token": None}


def test_defaults_of_secrets() -> None:
    """The default of a secret is the text that was written, whatever YAML would make of it."""
    config = load("secrets: {pin: 0777, t: 12:30, v: on, w: 1.10, none: null}\n")

    assert config.secrets == {"pin": "0777", "t": "12:30", "v": "on", "w": "1.10", "none": None}


def test_what_is_nested() -> None:
    """Settings that are nested as deep as they may be are shown, too; deeper ones have no place."""
    deep = "{a: " * 98 + "1" + "}" * 98
    config = load(f"model_metadata: {deep}\n")

    assert format_config(config, as_json=False).count(" a:") == 98
    assert "nested deeper" in refused(f"model_metadata: {{a: {{a: {deep}}}}}\n").details


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
        "  Write a number of at least 1 and at most 100000.\n"
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


def test_problems_of_the_file_and_of_its_values() -> None:
    """What is wrong with the file, with a value, and with two keys together is told at once."""
    error = refused(
        "model_name: a\nmodel_name: b\ndescription: !x y\nresources: {cpu: many}\n"
        "requirements: [7]\nrequirements_file: r.txt\n"
        "docker_server: {no_build: true, server_port: 70000, readiness_endpoint: /}\n"
    )

    assert [(one.line, one.column, one.key) for one in error.problems] == [
        (2, 1, "model_name"),
        (3, 14, "description"),
        (4, 18, "resources.cpu"),
        (5, 16, "requirements.0"),
        (6, 20, "requirements_file"),
        (7, 16, "docker_server"),
        (7, 16, "docker_server"),
        (7, 46, "docker_server.server_port"),
    ]
    assert error.problems[2].problem == "resources.cpu: `many` is no number of cores"
    assert error.problems[2].advice == "Write `4`, `0.5` or `500m`."


def test_a_value_that_could_not_be_read() -> None:
    """It is no second problem that a value which could not be read is none."""
    assert refused("model_name: !!int x\nresources: !x 3\n").message == "config.yaml has 2 problems."


@pytest.mark.parametrize(
    ("written", "quoted"),
    [("model_name: 012", "012"), ("description: yes", "yes"), ("model_class_name: 1_0.10", "1_0.10")],
)
def test_what_is_to_be_put_in_quotes(written: str, quoted: str) -> None:
    """It is the text that was written, not what YAML has made of it."""
    assert f'Put it in quotes: "{quoted}".' in refused(written).details


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("predict_concurrency: 2", "1:1", ["unknown key", "Did you mean `runtime.predict_concurrency`?"]),
        ("resources: {what: L4}", "1:13", ["`resources` takes cpu, memory, use_gpu, accelerator."]),
        ("whatever: 1", "1:1", ["unknown key `whatever`", "Correct its name, or remove it."]),
        ('base_image: {image: "a\\nRUN b"}', "1:21", ["one line of printable"]),
        ("base_image: {python_executable_path: python3}", "1:38", ["is no absolute path of a program"]),
        ("requirements: torch", "1:15", ["must be a list", "after `- `"]),
        ("requirements: [torch, 7]", "1:23", ["requirements.1: must be text", 'Put it in quotes: "7".']),
        ('requirements: ["a\\nb"]', "1:16", ["one line of printable"]),
        ("requirements: [' ']", "1:16", ["must not be empty", "or leave it out"]),
        ("build_commands:\n- echo a: b  # c", "2:3", ["must be text", 'put it in quotes: "echo a: b".']),
        ("model_name: [a]", "1:13", ["must be text", "For example: `model_name: falcon-7b`."]),
        (
            "external_data: [{local_data_path: a}]",
            "1:17",
            ["external_data.0.url: is missing", "For example: `url: https://"],
        ),
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
        ("runtime: {drain_timeout: -1}", "1:26", ["Write a number of at least 0 and at most 86400."]),
        ("runtime: {predict_concurrency: 1.5}", "1:32", ["must be a whole number"]),
        ("runtime: {predict_concurrency: true}", "1:32", ["must be a whole number"]),
        ("runtime: {streaming_read_timeout: 0}", "1:35", ["must be greater than 0"]),
        ("runtime: {streaming_read_timeout: .inf}", "1:35", ["must be a number"]),
        ("runtime: {drain_timeout: 30s}", "1:26", ["must be a number"]),
        ("secrets: [hf_token]", "1:10", ["must be `key: value` lines"]),
        ("secrets: {hf_token: [a]}", "1:21", ["secrets.hf_token: must be text"]),
        (
            "runtime: {max_queue: '" + "9" * 5000 + "'}",
            "1:22",
            ["runtime.max_queue: must be a whole number\n"],
        ),
        ("base_image: {image: 'a\tb'}", "1:21", ["one line of printable", "Take out a tab."]),
        ("model_class_name: class", "1:19", ["`class` is no name of a class"]),
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
        (
            "{start_command: serve, readiness_endpoint: /, run_as_user_id: 0}",
            "0 is root, as which no server runs",
        ),
        ("{start_command: serve, readiness_endpoint: /, run_as_user_id: '0'}", "0 is root"),
        ("{start_command: serve, readiness_endpoint: /, run_as_user_id: -1}", "run_as_user_id: must be"),
        (
            "{start_command: serve, readiness_endpoint: /, no_build: true, server_port: 8080}",
            "8080 is the port in front of your server, in the same container, with `no_build`, too",
        ),
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
