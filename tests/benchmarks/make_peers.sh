#!/bin/sh
# The environments of the peers that `make bench` runs beside dgmmis, each in a folder of its own.
#   sh tests/benchmarks/make_peers.sh [FOLDER]        (default: .venv/bench-peers)
# A peer that cannot be installed leaves its reason in FOLDER/NAME.reason, which the table shows. Needs Python 3.11, the
# last one that pyGMMis's numpy runs on (PYTHON=/path/to/python3.11 names it); Spark needs Java 17.
set -u
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-.venv/bench-peers}
python=${PYTHON:-python3.11}
mkdir -p "$folder"

# environment, then what pip installs into it, step by step
install() {
  name=$1
  shift
  rm -f "$folder/$name.reason"
  "$python" -m venv "$folder/$name"
  for step in "$@"; do
    # shellcheck disable=SC2086 (a step is several words)
    if ! "$folder/$name/bin/python" -m pip install --quiet $step 2> "$folder/$name.log"; then
      grep '^ERROR' "$folder/$name.log" | tail -1 | sed 's/^ERROR: *//' > "$folder/$name.reason"
      rm -rf "${folder:?}/$name"
      echo "$name: $(cat "$folder/$name.reason")"
      return
    fi
  done
  echo "$name: installed"
}

install gmmx gmmx
install pomegranate torch==2.13.0 pomegranate
install spark 'pyspark pandas pyarrow setuptools'
install xd extreme-deconvolution
install scalable_xd scalable-xd
if PYTHON=$python sh "$here/../comparison/make_environment.sh" "$folder/old" > "$folder/old.log" 2>&1; then
  rm -f "$folder/old.reason"
  echo "old (pyGMMis, astroML): installed"
else
  tail -1 "$folder/old.log" > "$folder/old.reason"
fi
