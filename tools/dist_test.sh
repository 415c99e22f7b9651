#!/usr/bin/env bash
# Test on several devices or nodes: bash tools/dist_test.sh [CONFIG] CHECKPOINT NUM_PROCESSES [geo-mm test options]
# For several nodes set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail
source "$(dirname "$0")/launch.sh"

USAGE='usage: dist_test.sh [CONFIG] CHECKPOINT NUM_PROCESSES [options]'
take_paths "$USAGE" 1 "$@"
run_processes "$NUM_PROCESSES" test "${PATHS[@]}" "${REST[@]}"
