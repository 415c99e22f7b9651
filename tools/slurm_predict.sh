#!/usr/bin/env bash
# Predict under SLURM: [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS=...] \
#   bash tools/slurm_predict.sh PARTITION JOB_NAME [CONFIG] CHECKPOINT SCENE -o OUT [predict.py options]
set -euo pipefail

USAGE='usage: slurm_predict.sh PARTITION JOB_NAME [CONFIG] CHECKPOINT SCENE -o OUT [options]'
PARTITION=${1:?$USAGE}
JOB_NAME=${2:?$USAGE}
CHECKPOINT=${3:?$USAGE}
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
TOOLS=$(cd "$(dirname "$0")" && pwd)

# SRUN_ARGS is split into words on purpose.
# shellcheck disable=SC2086
PYTHONPATH="$TOOLS/..:${PYTHONPATH:-}" srun -p "$PARTITION" --job-name="$JOB_NAME" \
    --gres=gpu:"$GPUS_PER_NODE" --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$TOOLS/predict.py" "$CHECKPOINT" "${@:4}" --launcher slurm
