#!/bin/sh
# Find a Python that can run geo_mm and let it set up .venv (see setup_venv.py).
# PYTHON=/path/to/python chooses one.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

usable() {
    # Run it: a name on the PATH may be a shim with nothing behind it.
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3.10 python3 python}; do
    if usable "$candidate"; then
        exec "$candidate" "$here/setup_venv.py" "$@"
    fi
done

found=''
for candidate in ${PYTHON:-python3 python}; do
    version=$("$candidate" -V 2>/dev/null) && found="$found $candidate is $version;"
done
cat >&2 <<MESSAGE
error: no usable Python found:${found:- no python3 on the PATH}
  expected: Python 3.10 to 3.13 (3.11 is tested)
  to do: install one (Debian, Ubuntu: apt-get install python3-venv python3-dev; conda: conda
         create -n py311 python=3.11), or say where it is: make PYTHON=/path/to/python3.11 ...
MESSAGE
exit 1
