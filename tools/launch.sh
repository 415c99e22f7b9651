# Sourced by dist_*.sh and slurm_*.sh: which Python, and how it is started several times.

TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$TOOLS/..:${PYTHONPATH:-}"

# PYTHON if it is set, else that of the active environment, else the first on the PATH.
choose_python() {
    if [[ -z ${PYTHON:-} ]]; then
        for folder in "${VIRTUAL_ENV:-}" "${CONDA_PREFIX:-}"; do
            if [[ -n $folder && -x $folder/bin/python ]]; then
                PYTHON=$folder/bin/python
                break
            fi
        done
    fi
    PYTHON=${PYTHON:-$(command -v python || command -v python3)}
    echo "python: $PYTHON" >&2
}

# take_paths USAGE LEAST ARGUMENTS...: at least so many paths (PATHS), NUM_PROCESSES, and the REST.
take_paths() {
    local usage=$1 least=$2
    shift 2
    PATHS=()
    while [[ $# -gt 0 && ! $1 =~ ^[0-9]+$ && $1 != -* ]]; do
        PATHS+=("$1")
        shift
    done
    NUM_PROCESSES=${1:-}
    if [[ ${#PATHS[@]} -lt $least || ! $NUM_PROCESSES =~ ^[0-9]+$ ]]; then
        echo "$usage" >&2
        exit 2
    fi
    REST=("${@:2}")
}

# run_processes NUM_PROCESSES COMMAND ARGUMENTS...
run_processes() {
    choose_python
    exec "$PYTHON" -m geo_mm.cli.processes \
        --nnodes="${NNODES:-1}" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="${PORT:-29500}" \
        --nproc_per_node="$1" \
        -m geo_mm.cli "${@:2}" --launcher pytorch
}

# run_slurm PARTITION JOB_NAME COMMAND ARGUMENTS...: a process for each of GPUS, or PROCESSES
# without GPUs.
run_slurm() {
    choose_python
    local gpus=${GPUS:-8}
    local per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    local tasks=(--gres=gpu:"$per_node" --ntasks="$gpus" --ntasks-per-node="$per_node")
    if [[ -n ${PROCESSES:-} ]]; then
        tasks=(--ntasks="$PROCESSES")
    fi
    local cpus=${CPUS_PER_TASK:-5}
    # Results depend on the number of threads, which would else be that of cores of a node.
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$cpus}
    # SRUN_ARGS is split into words on purpose.
    # shellcheck disable=SC2086
    exec "$PYTHON" -m geo_mm.cli.processes srun -p "$1" --job-name="$2" \
        "${tasks[@]}" --cpus-per-task="$cpus" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
        "$PYTHON" -u -m geo_mm.cli "${@:3}" --launcher slurm
}
