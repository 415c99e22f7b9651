#!/usr/bin/env bash
# Train on several devices or nodes: bash tools/dist_train.sh CONFIG NUM_PROCESSES [geo-mm train options]
# For several nodes set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail
source "$(dirname "$0")/launch.sh"

USAGE='usage: dist_train.sh CONFIG NUM_PROCESSES [options]'
CONFIG=${1:?$USAGE}
NUM_PROCESSES=${2:?$USAGE}
run_processes "$NUM_PROCESSES" train "$CONFIG" "${@:3}"
