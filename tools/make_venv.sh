#!/bin/sh
# Make .venv in the current folder with the newest supported Python that is here, else with uv's.
set -eu

# The last ai-edge-litert for Intel Macs is for Python 3.11 and older.
case "$(uname -s) $(uname -m)" in
"Darwin x86_64") newest=11 ;;
*) newest=14 ;;
esac
supported="import sys; raise SystemExit(not (3, 10) <= sys.version_info[:2] <= (3, $newest))"

if .venv/bin/python -c "$supported" >/dev/null 2>&1 && .venv/bin/python -m pip --version >/dev/null 2>&1; then
    exit 0
fi

# Running it is the test: a name on the PATH may be an empty shim, and venv may be packaged apart.
for name in ${PYTHON:+"$PYTHON"} python3.14 python3.13 python3.12 python3.11 python3.10 python3 python; do
    if "$name" -c "$supported" >/dev/null 2>&1; then
        if "$name" -m venv .venv >/dev/null 2>&1; then
            echo "made .venv with $("$name" --version)"
            exit 0
        fi
        rm -rf .venv
        without_venv=$name
    fi
done

# uv brings a Python of its own; --seed puts pip into the environment.
if command -v uv >/dev/null 2>&1; then
    if uv venv --quiet --seed --python ">=3.10,<=3.$newest" .venv; then
        echo "made .venv with $(.venv/bin/python --version) by uv"
        exit 0
    fi
    rm -rf .venv
fi

if [ -n "${without_venv:-}" ]; then
    echo "error: $without_venv cannot make a virtual environment; on Debian or Ubuntu run: apt-get install python3-venv" >&2
else
    echo "error: no Python 3.10 to 3.$newest found; install one, or uv, which brings one (pip install uv, brew install uv or https://docs.astral.sh/uv), and run again; or name one: make PYTHON=/path/to/python3.11 ..." >&2
fi
exit 1
