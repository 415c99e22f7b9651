#!/usr/bin/env bash
# Predict with several processes, on one machine or several, which share the work of each scene:
#   bash tools/dist_predict.sh [CONFIG] CHECKPOINT SCENE NUM_PROCESSES -o OUT [predict.py options]
# SCENE may be a pattern in quotes or a catalog table. The result does not depend on NUM_PROCESSES.
# For several nodes set NNODES, NODE_RANK, MASTER_ADDR and PORT on each; all must see OUT.
set -euo pipefail

USAGE='usage: dist_predict.sh [CONFIG] CHECKPOINT SCENE NUM_PROCESSES -o OUT [options]'
PATHS=()
while [[ $# -gt 0 && ! $1 =~ ^[0-9]+$ && $1 != -* ]]; do
    PATHS+=("$1")
    shift
done
NUM_PROCESSES=${1:?$USAGE}
[[ ${#PATHS[@]} -ge 2 && $NUM_PROCESSES =~ ^[0-9]+$ ]] || { echo "$USAGE" >&2; exit 2; }
TOOLS=$(cd "$(dirname "$0")" && pwd)

PYTHONPATH="$TOOLS/..:${PYTHONPATH:-}" "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$NUM_PROCESSES" \
    "$TOOLS/predict.py" "${PATHS[@]}" --launcher pytorch "${@:2}"
