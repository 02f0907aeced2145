#!/usr/bin/env bash
# From nothing to labels: bash jobs/demo.sh [--llm NAME]
# Makes .venv, fetches the demo's subject, labels latents of a real SAE on a local Ray with a real
# vLLM engine. A run that was stopped is continued; after a finished one a new run is begun.
# `--llm` takes another model to describe and judge: a hub name, a folder, or a server's URL (with
# `--llm-model NAME`; its key in OPENAI_API_KEY). Its runs lie in folders of their own.
set -euo pipefail

llm="" model="" arguments=()
while (($#)); do
  case "$1" in
    --llm=* | --llm-model=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --llm | --llm-model)
      value="${2?"demo: $1 needs a value."}"
      if [[ "$1" == --llm-model ]]; then model="$value"; else
        if [[ -d "$value" ]]; then value="$(realpath "$value")"; fi
        llm="$value"
      fi
      arguments+=("$1" "$value") && shift 2 ;;
    *) arguments+=("$1") && shift ;;
  esac
done
cd "$(dirname "${BASH_SOURCE[0]}")/.."

started=$SECONDS
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled VLLM_NO_USAGE_STATS=1
bash jobs/env/setup.sh
.venv/bin/python jobs/demo/subject.py

run=runs/demo
if [[ -n "$llm" ]]; then run+="-$(basename "${model:-$llm}" | tr -c 'A-Za-z0-9._\n' -)"; fi
number=1
while compgen -G "$run-$number/demo/sae/*/labels.parquet" >/dev/null; do number=$((number + 1)); done
# Only a hub name needs the hub.
offline="${HF_HUB_OFFLINE:-0}"
if [[ -z "$llm" || -d "$llm" || "$llm" == *://* ]]; then offline=1; fi
HF_HUB_OFFLINE="$offline" .venv/bin/ray-autointerp label jobs/demo/demo.toml \
  --root "$run-$number" "${arguments[@]}"
echo "The demo took $((SECONDS - started)) s."
if [[ -z "$llm" ]]; then .venv/bin/python jobs/demo/better_llm.py; fi
