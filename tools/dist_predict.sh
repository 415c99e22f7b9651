#!/usr/bin/env bash
# Predict with several processes, on one machine or several, which share the work of each scene:
#   bash tools/dist_predict.sh [CONFIG] CHECKPOINT SCENE NUM_PROCESSES -o OUT [geo-mm predict options]
# SCENE may be a pattern in quotes or a catalog table. The result does not depend on NUM_PROCESSES.
# For several nodes set NNODES, NODE_RANK, MASTER_ADDR and PORT on each; all must see OUT.
set -euo pipefail
source "$(dirname "$0")/launch.sh"

USAGE='usage: dist_predict.sh [CONFIG] CHECKPOINT SCENE NUM_PROCESSES -o OUT [options]'
take_paths "$USAGE" 2 "$@"
run_processes "$NUM_PROCESSES" predict "${PATHS[@]}" "${REST[@]}"
