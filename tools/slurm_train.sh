#!/usr/bin/env bash
# Train under SLURM: [GPUS=8 GPUS_PER_NODE=8 | PROCESSES=8, without GPUs] [CPUS_PER_TASK=5 SRUN_ARGS=...] \
#   bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [geo-mm train options]
set -euo pipefail
source "$(dirname "$0")/launch.sh"

: "${3:?usage: slurm_train.sh PARTITION JOB_NAME CONFIG [options]}"
run_slurm "$1" "$2" train "${@:3}"
