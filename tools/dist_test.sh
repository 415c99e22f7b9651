#!/usr/bin/env bash
# Test on several devices or nodes: bash tools/dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [test.py options]
# For several nodes set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail

CONFIG=${1:?usage: dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [options]}
CHECKPOINT=${2:?usage: dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [options]}
NUM_PROCESSES=${3:?usage: dist_test.sh CONFIG CHECKPOINT NUM_PROCESSES [options]}
TOOLS=$(cd "$(dirname "$0")" && pwd)

PYTHONPATH="$TOOLS/..:${PYTHONPATH:-}" "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$NUM_PROCESSES" \
    "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
