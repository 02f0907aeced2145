#!/usr/bin/env bash
# From nothing to labels: bash jobs/demo.sh
# Makes .venv, fetches the demo's subject, labels latents of a real SAE on a local Ray with a real
# vLLM engine. A run that was stopped is continued; after a finished one a new run is begun.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

started=$SECONDS
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled VLLM_NO_USAGE_STATS=1
bash jobs/env/setup.sh
.venv/bin/python jobs/demo/subject.py
export HF_HUB_OFFLINE=1

number=1
while compgen -G "runs/demo-$number/demo/sae/*/labels.parquet" >/dev/null; do number=$((number + 1)); done
.venv/bin/ray-autointerp label jobs/demo/demo.toml --root "runs/demo-$number" "$@"
echo "The demo took $((SECONDS - started)) s."
