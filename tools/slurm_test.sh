#!/usr/bin/env bash
# Test under SLURM: [GPUS=8 GPUS_PER_NODE=8 | PROCESSES=8, without GPUs] [CPUS_PER_TASK=5 SRUN_ARGS=...] \
#   bash tools/slurm_test.sh PARTITION JOB_NAME [CONFIG] CHECKPOINT [geo-mm test options]
set -euo pipefail
source "$(dirname "$0")/launch.sh"

: "${3:?usage: slurm_test.sh PARTITION JOB_NAME [CONFIG] CHECKPOINT [options]}"
run_slurm "$1" "$2" test "${@:3}"
