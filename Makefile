# Every verb of this repository: `make help` lists them, CONTRIBUTING.md explains them.

PYTHON ?= python3
BIN := .venv/bin

# Branches, sources and tests, subprocesses included; raised as the figure rises, never lowered.
COVERAGE := 85

PINS := templates/truss_templates/docker/requirements.txt

# A machine that has its own package index has told pip; uv is told the same.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

.DEFAULT_GOAL := help
.PHONY: help install demo format lint types test e2e cov check build docs pins bench clean

help: ## List the verbs.
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.dev ## Make .venv with truss and everything that works on it.

demo: .venv/.tool ## Scaffold, push to the local target, predict, stop: the whole way without Docker.
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/demo.sh

format: install ## Rewrite the sources the way `make lint` wants them.
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lint: install ## Check format and style.
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: install ## Check types.
	$(BIN)/mypy

# Four processes, also on two cores: many tests wait for a server or for the engine.
test: install lint types ## Format, style, types, and every test but those of `make e2e`.
	$(BIN)/python -m pytest -n 4 --dist loadgroup

e2e: install ## The tests that install torch and transformers.
	$(BIN)/python -m pytest -m e2e

cov: install ## Every test but those of `make e2e`, with branch coverage.
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --skip-empty --fail-under=$(COVERAGE)

check: lint types cov build ## All that must hold before a change is pushed, each once.

build: install ## Build sdist and wheel and look into them.
	rm -rf dist
	$(BIN)/uv build --quiet
	$(BIN)/python .ci/check_wheel.py dist/*.whl

docs: install ## Write anew what is made from the sources: the page and the schema of config.yaml.
	$(BIN)/python -m truss.config_pages > docs/configuration.md
	$(BIN)/truss config schema > templates/truss_templates/scaffold/common/.truss/config.schema.json
	cp templates/truss_templates/scaffold/common/.truss/config.schema.json examples/falcon-7b/.truss/

pins: install ## Pin anew what the server runs on in an image.
	printf '%s\n' fastapi fastapi-offline httptools msgpack msgspec orjson pip prometheus-client uvicorn uvloop websockets | $(BIN)/uv pip compile --quiet --upgrade --universal \
	    --python-version 3.10 --no-annotate --custom-compile-command 'make pins' --output-file $(PINS) -

bench: install ## Measure what the project promises in numbers.
	$(BIN)/python -m benchmarks

clean: ## Remove what the other verbs made.
	rm -rf .venv dist build .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find cli server_template templates tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# The demo needs the tool only; everything else needs the development tools as well.
.venv/.tool: pyproject.toml | .venv/bin/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable .
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable . --group dev
	@touch .venv/.tool $@

.venv/bin/uv:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 10) or sys.exit("truss needs Python 3.10 or newer and \"$(PYTHON)\" is %d.%d: name another one, as in `make install PYTHON=python3.12`." % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
