#!/usr/bin/env bash
# Predict under SLURM: [GPUS=8 GPUS_PER_NODE=8 | PROCESSES=8, without GPUs] [CPUS_PER_TASK=5 SRUN_ARGS=...] \
#   bash tools/slurm_predict.sh PARTITION JOB_NAME [CONFIG] CHECKPOINT SCENE -o OUT [geo-mm predict options]
set -euo pipefail
source "$(dirname "$0")/launch.sh"

: "${4:?usage: slurm_predict.sh PARTITION JOB_NAME [CONFIG] CHECKPOINT SCENE -o OUT [options]}"
run_slurm "$1" "$2" predict "${@:3}"
