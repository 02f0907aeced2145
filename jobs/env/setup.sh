#!/usr/bin/env bash
# Makes a virtual environment with everything pinned: bash jobs/env/setup.sh [--dev] [VENV]
# Needs Python 3.11, pip and git. Run twice, it does nothing the second time; an interrupted
# set-up is finished by the next run (the stamp that says "complete" is written last).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

locks=(jobs/env/cpu.txt) semantic=()
if [[ "${1:-}" == --dev ]]; then locks+=(jobs/env/dev.txt) semantic=(jobs/env/semantic.txt); shift; fi
venv="${1:-.venv}"
python="${PYTHON:-python3.11}"

fail() { echo "setup: $1" >&2; exit 2; }

command -v "$python" >/dev/null || fail "Python 3.11 is not here as \`$python\`; install it, or set PYTHON to it."
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || fail "$python is not Python 3.11, for which the locks are made."

stamp() { cat "$@" pyproject.toml | sha256sum | cut -d' ' -f1; }
has() { [[ -f "$venv/.stamp-$1" && "$(cat "$venv/.stamp-$1")" == "$2" ]]; }

base="$(stamp jobs/env/cpu.txt)"
all="$(stamp "${locks[@]}" "${semantic[@]}")"
if has base "$base" && { ((${#locks[@]} == 1)) || has dev "$all"; }; then exit 0; fi

started=$SECONDS
rm -f "$venv"/.stamp-*

# pip writes INSTALLER when a package's files are all there: without it a killed run left a half.
packages="$venv/lib/python3.11/site-packages"
for info in "$packages"/*.dist-info; do
  if [[ -d "$info" && ! -f "$info/INSTALLER" ]]; then rm -rf "$info"; fi
done
# A killed `venv` leaves an interpreter without pip, or without the scripts it writes last.
if [[ ! -x "$venv/bin/python" || ! -f "$venv/bin/activate" ]] ||
  ! compgen -G "$packages/pip-*.dist-info" >/dev/null; then
  "$python" -m venv "$venv" || fail "cannot make a virtual environment in $venv."
fi
pip=("$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-compile --no-deps)

# Without it the pip at hand does the same: that of Python 3.11 takes twice as long to find 250 packages.
"${pip[@]}" pip==26.3 2>/dev/null || true

# The CPU build of torch: from wherever pip is configured to look, else from PyTorch's own index.
torch="$(grep '^torch==' jobs/env/cpu.txt)"
"${pip[@]}" "$torch" 2>/dev/null ||
  "${pip[@]}" --index-url https://download.pytorch.org/whl/cpu "$torch" ||
  fail "could not get $torch: it is neither on the configured package index nor reachable on PyTorch's CPU index."
requirements="$(mktemp)"
trap 'rm -f "$requirements"' EXIT
cat "${locks[@]}" | grep -v '^torch==' >"$requirements"
"${pip[@]}" --prefer-binary -r "$requirements" || fail "could not install the pinned packages of ${locks[*]}; the lines above say which."
if ((${#semantic[@]})); then
  rm -rf "$venv/semantic"
  "${pip[@]}" --prefer-binary --target "$venv/semantic" -r "${semantic[0]}" || fail "could not install the pinned packages of ${semantic[0]}; the lines above say which."
fi
"${pip[@]}" --no-build-isolation --editable . || fail "could not install ray_autointerp itself from this folder."

# Python compiles what it imports, once, where it may write that down; else all is compiled here, but
# for the templates and tests of some packages that are no Python 3.
if [[ -n "${PYTHONDONTWRITEBYTECODE:-}" ]]; then
  "$venv/bin/python" -m compileall -qq -j 0 "$venv"/lib/python3.11/site-packages || true
fi

echo "$base" >"$venv/.stamp-base"
if ((${#locks[@]} > 1)); then echo "$all" >"$venv/.stamp-dev"; fi
echo "setup: $venv is ready after $((SECONDS - started)) s."
