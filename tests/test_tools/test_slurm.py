"""Job arrays and the scripts for SLURM, in a SLURM of one node that the tests start."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.data.chips import CONFIGS, write_scene, write_seg_config
from tests.data.models import pixel_files, spec_of
from tests.data.processes import hashes
from tests.data.rasters import noise, write_raster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(shutil.which, ('munged', 'slurmctld', 'slurmd', 'srun', 'sbatch'))),
        reason='SLURM is not installed: apt-get install slurm-wlm munge',
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason='only root starts the daemons of SLURM'),
]
ROOT = CONFIGS.parent
SPEC = spec_of('pixels', ['low', 'high'], mean=(127.5,), std=(10.0,))

CLUSTER = """
ClusterName=test
SlurmctldHost={host}
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
KillWait=10
ReturnToService=2
NodeName={host} CPUs=4 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

# As in docs/en/scale.md.
ARRAY = """#!/bin/bash
#SBATCH --array=0-2
#SBATCH --requeue
#SBATCH --open-mode=append
export OMP_NUM_THREADS=1
exec {command} --shard "$SLURM_ARRAY_TASK_ID/3"
"""


def run(*command: object, **environment: str) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f'{done.stdout[-2000:]}\n{done.stderr[-3000:]}'
    return done.stdout


def wait(condition, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for free in sockets:
        free.bind(('', 0))
    ports = [free.getsockname()[1] for free in sockets]
    for free in sockets:
        free.close()
    return ports


@pytest.fixture(scope='module')
def slurm(tmp_path_factory):
    """A SLURM of this machine, with all its files in a temporary folder, that commands find."""
    folder = tmp_path_factory.mktemp('slurm')
    for name in 'state', 'spool':
        (folder / name).mkdir()
    config, key = folder / 'slurm.conf', folder / 'munge.key'
    config.write_text(CLUSTER.format(folder=folder, host=socket.gethostname(), ports=free_ports(2)))
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    munge = [f'--{name}={folder}/munge.{name[:4]}' for name in ('pid-file', 'seed-file')]
    munge += [f'--key-file={key}', f'--socket={folder}/munge.socket', '--force', '--foreground']
    daemons = []
    with pytest.MonkeyPatch.context() as patch, (folder / 'log').open('w') as log:
        patch.setenv('SLURM_CONF', str(config))
        patch.setenv('SOURCE_DATE_EPOCH', '1700000000')
        patch.setenv('PYTHON', sys.executable)
        patch.setenv('PYTHONPATH', str(ROOT))
        try:
            for command in (['munged', *munge], ['slurmctld', '-D'], ['slurmd', '-D']):
                daemons.append(subprocess.Popen(command, stdout=log, stderr=log))
                if command[0] == 'munged':
                    wait((folder / 'munge.socket').exists, 10)
            wait(lambda: 'idle' in subprocess.getoutput('sinfo -h -o %T'), 30)
            yield
            run('scancel', '--user=root')
            wait(lambda: not run('squeue', '-h'), 30)
        except BaseException:
            log.flush()
            print((folder / 'log').read_text()[-3000:])
            raise
        finally:
            for daemon in reversed(daemons):
                daemon.terminate()
                daemon.wait(30)


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return pixel_files(tmp_path_factory.mktemp('model'), SPEC, [[0.0], [1.0]])[1]


def predict(model: Path, scenes: Path, out: Path) -> list[object]:
    """Arguments of ``geo-mm predict``."""
    options = ['--tile', 32, '--device', 'cpu', '--trust-checkpoint']
    return [model, scenes / '*.tif', '-o', out, *options]


def one_process(model: Path, scenes: Path, out: Path) -> dict[str, str]:
    """Hashes of the results without SLURM, in the same folder, whose name is in them."""
    out.rename(out.with_name('moved'))
    command = [sys.executable, '-m', 'geo_mm.cli', 'predict', *predict(model, scenes, out)]
    run(*command, OMP_NUM_THREADS='1')
    return hashes(out)


def test_array_of_which_jobs_are_cancelled_and_requeued(slurm, tmp_path, model):
    scenes, out = tmp_path / 'in', tmp_path / 'out'
    scenes.mkdir()
    # Shard 0 has f and i, 1 has a and b, 2 has c and d. Those of 3000 pixels take half a minute.
    for n, name in enumerate('abcdfi'):
        side = 3000 if name in 'fa' else 90
        write_raster(scenes / f'{name}.tif', noise((1, side, side), seed=n))
    command = [sys.executable, '-m', 'geo_mm.cli', 'predict', *predict(model, scenes, out)]
    script = tmp_path / 'array.sh'
    script.write_text(ARRAY.format(command=' '.join(f"'{word}'" for word in command)))
    submit = ('sbatch', '--parsable', f'--output={tmp_path}/shard_%a.txt', script)

    job = run(*submit).strip()
    wait((out / '.f.unfinished').exists)
    run('scancel', f'{job}_0')
    wait((out / '.a.unfinished').exists)
    run('scontrol', 'requeue', f'{job}_1')
    # Else it stays in the queue for two minutes.
    wait(lambda: run('squeue', '-h', '-j', f'{job}_1', '-o', '%T').strip() == 'PENDING')
    run('scontrol', 'update', f'jobid={job}_1', 'starttime=now')
    wait(lambda: not run('squeue', '-h'))
    assert not (out / 'f.tif').exists() and (out / 'a.tif').exists()
    assert (out / '.f.unfinished').exists()

    run(*submit)
    wait(lambda: not run('squeue', '-h'))
    assert not list(out.glob('.*.unfinished'))
    found = hashes(out)
    assert found == one_process(model, scenes, out)
    logs = [(tmp_path / f'shard_{n}.txt').read_text() for n in range(3)]
    assert 'CANCELLED' in logs[0] and 'REQUEUE' in logs[1]
    written = Counter(re.findall(r'/out/(\w)\.tif(?!: there)', ''.join(logs)))
    assert written == dict.fromkeys('abcdfi', 1)


def test_processes_that_srun_starts_share_scenes(slurm, tmp_path, model):
    scenes, out = tmp_path / 'in', tmp_path / 'out'
    scenes.mkdir()
    for n, name in enumerate('ab'):
        write_raster(scenes / f'{name}.tif', noise((1, 200, 200), seed=n))
    printed = run(
        *('bash', ROOT / 'tools' / 'slurm_predict.sh', 'all', 'job', *predict(model, scenes, out)),
        PROCESSES='2',
        CPUS_PER_TASK='1',
    )
    assert printed.count(f'{out}/a.tif\n') == 1
    found = hashes(out)
    assert found == one_process(model, scenes, out)


def test_training_with_two_processes(slurm, tmp_path):
    write_scene(tmp_path)
    config = write_seg_config(tmp_path)
    script = ROOT / 'tools' / 'slurm_train.sh'
    printed = run(
        *('bash', script, 'all', 'job', config, '--work-dir', tmp_path / 'work'),
        PROCESSES='2',
        CPUS_PER_TASK='1',
        CUDA_VISIBLE_DEVICES='',
    )
    assert printed.count('training EncoderDecoder') == 1
    assert (tmp_path / 'work' / 'iter_2.pth').is_file()
    (log,) = (tmp_path / 'work').glob('*/*.log')
    assert 'GPU number: 2' in log.read_text()  # of processes, says MMEngine
