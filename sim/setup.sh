#!/bin/sh
# Makes .venv with the versions that pyproject.toml pins. Names everything that is missing on this machine at once, one line each.
set -eu
cd "$(dirname "$0")/.."

missing=0
need() {
    command -v "$1" >/dev/null 2>&1 && return
    echo "setup: $1 not found: $2" >&2
    missing=1
}
need g++ "a C++17 compiler (apt-get install g++, or dnf install gcc-c++)"
need make "GNU make (apt-get install make, or dnf install make)"
need perl "Perl 5 (apt-get install perl, or dnf install perl)"

python=
for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "setup: no Python >= 3.11 found (apt-get install python3 python3-venv; or PYTHON=/path/to/python3.11 make setup)" >&2
    missing=1
elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "setup: $python has no venv module (apt-get install python3-venv)" >&2
    missing=1
fi
[ "$missing" = 0 ] || exit 1

if [ ! -x .venv/bin/python ]; then
    echo "setup: making .venv and installing the pinned packages (one to three minutes, once)"
    "$python" -m venv .venv
fi
# In compat mode the project's root is on Python's path by a .pth file; its deprecation notice is kept from the screen.
log=.venv/setup.log
if ! .venv/bin/python -m pip install --disable-pip-version-check --editable . --config-settings editable_mode=compat >$log 2>&1; then
    grep -i error $log | head -5 >&2
    echo "setup: pip failed; all of its output is in $log" >&2
    exit 1
fi
touch .venv/setup.stamp
echo "setup: done"
