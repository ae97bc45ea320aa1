#!/usr/bin/env bash
# The whole way once, without Docker: scaffold, push, predict, stop. `make demo` runs it with truss on PATH.
# Everything is in a folder of its own, and nothing runs or lies around afterwards, however it ends.
set -euo pipefail

folder=$(mktemp -d)
# No state and no engine but our own: what you have deployed is neither seen nor stopped.
export TRUSS_HOME=$folder/state DOCKER_HOST=unix://$folder/no-engine

finish() {
    local code=$?
    trap '' INT TERM
    (cd "$folder" && truss stop --all) >/dev/null 2>&1 || true
    rm -rf "$folder"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

show() {
    printf '\n$ %s\n' "$1"
    eval "$1"
}

cd "$folder"
show "truss init my-model && cd my-model"
show "truss push --target local"
show "truss predict -d '{\"prompt\": \"The falcon\", \"max_words\": 40}'"
printf '\n'
show "truss stop"
printf '\nThat was it. Next: `truss init my-model && cd my-model`, edit model/model.py, `truss push`.\n'
