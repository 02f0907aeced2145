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
# What begins here runs beside what follows, and prints when its end is waited for.
beside="$(mktemp -d)"
trap 'rm -r "$beside"' EXIT
begin() {
  local name="$1"
  shift
  "$@" >"$beside/$name" 2>&1 &
  echo $! >"$beside/$name.pid"
}
end() {
  local status=0
  wait "$(<"$beside/$1.pid")" || status=$?
  grep -vE '^[.sxFE]+ *\[ *[0-9]+%\]$' "$beside/$1"  # all but pytest's progress
  return "$status"
}
# Two processes for two processors: tests with Ray and vLLM keep one busy as long as all others do.
run_tests() {
  local pytest=("$bin/python" -m pytest --durations=10)
  if (($#)); then
    "${pytest[@]}" "$@"
    return
  fi
  local waiting="ray or vllm" status=0
  begin others "${pytest[@]}" -m "not ($waiting)"
  "${pytest[@]}" -m "$waiting" || status=$?
  end others || status=$?
  return "$status"
}

# Pages of the viewer are tested in a real browser; elsewhere than on Debian as root, install it.
if ! command -v chromium >/dev/null && ((EUID == 0)) && command -v apt-get >/dev/null; then
  echo "== chromium"
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install chromium; } \
    >/dev/null 2>&1 || echo "chromium could not be installed: the tests that need it are skipped."
fi

begin types "$bin/mypy"
step format "$bin/ruff" format --check --quiet .
step lint "$bin/ruff" check --quiet .
step imports "$bin/lint-imports"
step tests run_tests "$@"
step types end types

if ((${#failed[@]})); then
  echo "failed: ${failed[*]}"
  exit 1
fi
echo "all well after $SECONDS s"
