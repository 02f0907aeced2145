#!/usr/bin/env bash
# Everything that must hold before a change lands: set-up, lint, types, import contracts, tests.
# Extra arguments go to pytest: bash tests/run.sh -k planted
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled VLLM_NO_USAGE_STATS=1
export TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
unset PYTHONDONTWRITEBYTECODE  # else each of some hundred processes compiles what it imports

bash jobs/env/setup.sh --dev || exit
bin="$PWD/.venv/bin"
"$bin/python" jobs/demo/subject.py || exit
export HF_HUB_OFFLINE=1

failed=()
step() {
  local name="$1" started=$SECONDS
  shift
  echo "== $name"
  "$@" || failed+=("$name")
  echo "== $name: $((SECONDS - started)) s"
}
# Pages of the viewer are tested in a real browser; elsewhere than on Debian as root, install it.
if ! command -v chromium >/dev/null && ((EUID == 0)) && command -v apt-get >/dev/null; then
  echo "== chromium"
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install chromium; } \
    >/dev/null 2>&1 || echo "chromium could not be installed: the tests that need it are skipped."
fi

# Types are checked beside the tests, where a processor is idle for a while.
types="$(mktemp)"
trap 'rm "$types"' EXIT
"$bin/mypy" >"$types" 2>&1 &
checked=$!
wait_for_types() {
  local status=0
  wait "$checked" || status=$?
  cat "$types"
  return "$status"
}

step format "$bin/ruff" format --check --quiet .
step lint "$bin/ruff" check --quiet .
step imports "$bin/lint-imports"
# Two processes for two processors; groups and their order are in tests/conftest.py.
step tests "$bin/python" -m pytest -n 2 --dist loadscope --no-loadscope-reorder --durations=10 "$@"
step types wait_for_types

if ((${#failed[@]})); then
  echo "failed: ${failed[*]}"
  exit 1
fi
echo "all well after $SECONDS s"
