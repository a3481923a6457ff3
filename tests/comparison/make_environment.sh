#!/bin/sh
# An environment for the peers that need an old numpy: pyGMMis 1.2.3 and astroML's XDGMM.
#   sh tests/comparison/make_environment.sh [FOLDER]        (default: .venv/peers)
# needs Python 3.11, the last one that numpy 1.23 runs on: PYTHON=/path/to/python3.11 names it.
set -eu
folder=${1:-.venv/peers}
"${PYTHON:-python3.11}" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet 'numpy<1.24' 'scipy<1.11' 'scikit-learn<1.4' pygmmis==1.2.3 parmap 'astroML<1.1'
"$folder/bin/python" -c 'import pygmmis; from astroML.density_estimation import XDGMM'
echo "export DGMMIS_PEERS_PYTHON=$(cd "$folder" && pwd)/bin/python"
