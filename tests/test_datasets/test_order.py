"""The order of chips is a pure function of (seed, epoch, position): real loaders, real ranks."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from geo_mm.datasets import BlockChipSampler, RandomChipSampler
from geo_mm.models.preprocessors import GeoSegDataPreprocessor
from tests.data.chips import build_dataset, build_loader, dataset_cfg
from tests.data.labels import box, write_labels
from tests.data.rasters import noise, write_raster
from tests.test_datasets.print_order import orders

SCRIPT = Path(__file__).with_name('print_order.py')


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('order')
    found = []
    for name, shape in (('a', (80, 100)), ('b', (70, 64))):
        image = write_raster(folder / f'{name}.tif', noise((3, *shape)))
        labels = write_labels(folder / f'{name}.gpkg', [box(5, 5, 15, 15), box(40, 30, 50, 60)])
        found.append(dict(image=str(image), labels=str(labels)))
    return found


@pytest.mark.parametrize(
    ('sampler', 'stride'),
    [
        (dict(type='geo_mm.RandomChipSampler', num_chips=11, positive_share=0.5), 1),
        (dict(type='geo_mm.BlockChipSampler', num_chips=11, batch_size=3), 1),
        (dict(type='geo_mm.GridChipSampler'), 32),
    ],
)
def test_workers_do_not_change_the_order_or_the_chips(scenes, sampler, stride):
    dataset = dataset_cfg('det', scenes, stride=stride)

    def delivered(workers, epoch):
        loader = build_loader('det', dataset, sampler, workers=workers, batch=3, seed=5)
        loader.sampler.set_epoch(epoch)
        return [
            (sample.scene_id, sample.window, float(image.sum()))
            for batch in loader
            for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True)
        ]

    for epoch in (0, 2):
        alone = delivered(0, epoch)
        assert len(alone) == (11 if stride == 1 else 18)
        assert delivered(2, epoch) == alone


@pytest.fixture(scope='module')
def thousand(scenes):
    """A dataset, 500 chips of either order, and what the main process reads of them."""
    dataset = build_dataset('seg', scenes)
    options = dict(seed=5, infinite=True, num_chips=300, positive_share=0.3)
    samplers = RandomChipSampler(dataset, **options), BlockChipSampler(dataset, **options)
    stream = [index for sampler in samplers for index in islice(iter(sampler), 500)]
    return dataset, stream, read_by(dataset, stream, None, 0)


def read_by(dataset, stream, method, workers):
    loader = DataLoader(
        dataset,
        batch_size=20,
        sampler=stream,
        num_workers=workers,
        multiprocessing_context=method,
        collate_fn=pseudo_collate,
    )
    return [
        (sample.img_id, sample.window, int(image.sum()), int(sample.gt_sem_seg.data.sum()))
        for batch in loader
        for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True)
    ]


@pytest.mark.parametrize(
    ('method', 'workers'),
    [('fork', 1), ('fork', 4), pytest.param('forkserver', 4, marks=pytest.mark.slow), ('spawn', 1)],
)
def test_a_thousand_chips_however_workers_start(thousand, method, workers):
    dataset, stream, alone = thousand
    if method == 'forkserver':
        multiprocessing.set_forkserver_preload(['geo_mm.datasets'])
    assert len(set(alone)) > 500
    assert read_by(dataset, stream, method, workers) == alone


def test_the_endless_order_with_workers(scenes):
    dataset = dataset_cfg('det', scenes)
    sampler = dict(type='geo_mm.RandomChipSampler', infinite=True, num_chips=5)

    def delivered(workers):
        loader = build_loader('det', dataset, sampler, workers=workers, batch=3, seed=5)
        batches = islice(iter(loader), 4)
        return [(s.scene_id, s.window) for batch in batches for s in batch['data_samples']]

    assert delivered(2) == delivered(0)


@pytest.mark.parametrize('workers', [0, 2])
def test_stacked_chips_of_the_stored_type_are_the_same(scenes, workers):
    sampler = dict(type='geo_mm.BlockChipSampler', num_chips=8, batch_size=4)
    dataset = dataset_cfg('seg', scenes)
    apart = list(build_loader('seg', dataset, sampler, batch=4, seed=5))
    steps = [dict(type='geo_mm.LoadChip', stored=True), *dataset['pipeline'][1:]]
    options = dict(batch=4, seed=5, workers=workers, collate_fn=dict(type='geo_mm.stack_chips'))
    stacked = list(build_loader('seg', dict(dataset, pipeline=steps), sampler, **options))
    preprocessor = GeoSegDataPreprocessor([1.0] * 3, [2.0] * 3, size_divisor=1)
    for one, other in zip(apart, stacked, strict=True):
        assert other['inputs'].shape == (4, 3, 32, 32)
        assert other['inputs'].dtype == torch.uint8
        assert [s.window for s in one['data_samples']] == [s.window for s in other['data_samples']]
        one, other = (preprocessor(batch, training=True) for batch in (one, other))
        assert torch.equal(one['inputs'], other['inputs'])
        for a, b in zip(one['data_samples'], other['data_samples'], strict=True):
            assert torch.equal(a.gt_sem_seg.data, b.gt_sem_seg.data)


def test_memory_of_a_batch_that_is_kept_is_not_used_again(scenes):
    sampler = dict(type='geo_mm.RandomChipSampler', num_chips=40)
    options = dict(batch=2, seed=5, workers=1, collate_fn=dict(type='geo_mm.stack_chips'))
    loader = iter(build_loader('seg', dataset_cfg('seg', scenes), sampler, **options))
    kept = next(loader)
    before = kept['inputs'].clone(), kept['data_samples'][0].gt_sem_seg.data.clone()
    others = [batch['inputs'].sum() for batch in loader]
    assert len(set(map(float, others))) == 19
    assert torch.equal(kept['inputs'], before[0])
    assert torch.equal(kept['data_samples'][0].gt_sem_seg.data, before[1])


@pytest.mark.slow
def test_two_ranks_share_the_order_of_one(scenes, tmp_path):
    random = dict(type='geo_mm.RandomChipSampler', positive_share=0.5)
    blocks = dict(type='geo_mm.BlockChipSampler', positive_share=0.1)
    task = {
        'even': dict(sampler=dict(random, num_chips=8)),
        'odd': dict(sampler=dict(random, num_chips=7)),
        # Epochs of 7 chips do not divide among 2 ranks; the endless order still must agree.
        'endless': dict(sampler=dict(random, num_chips=7, infinite=True), count=1000, skip=317),
        'blocks': dict(sampler=dict(blocks, num_chips=150, infinite=True), count=1000, skip=317),
        'shared seed': dict(sampler=dict(random, num_chips=8), seed=None),
        'grid': dict(sampler=dict(type='geo_mm.GridChipSampler'), stride=32),
    }
    for case in task.values():
        case['dataset'] = dataset_cfg('det', scenes, stride=case.pop('stride', 1))
        case.setdefault('seed', 0)
    one, (first, second) = orders(task, ranks=1), run(task, tmp_path)
    assert dealt(first['even'], second['even']) == one['even']
    # The ranks do as many steps as each other, so an odd epoch ends with one chip more.
    assert dealt(first['odd'], second['odd'])[:7] == one['odd']
    assert len(first['odd']) == len(second['odd']) == 4
    for case in ('endless', 'blocks'):
        assert dealt(first[case], second[case]) == one[case]
        for rank in (one, first, second):
            assert rank[f'{case} resumed'] == rank[case][317:]
    # No chip is scored twice, and none is left out.
    assert dealt(first['grid'], second['grid']) == one['grid']
    # Without a seed the ranks agree on one: they draw different chips of one order.
    assert first['shared seed'] != second['shared seed']


def dealt(first: list, second: list) -> list:
    """The order that two ranks took turns in."""
    both = [None] * (len(first) + len(second))
    both[::2], both[1::2] = first, second
    return both


def run(task: dict, folder: Path) -> list[dict]:
    """What each of two processes gets."""
    (folder / 'task.json').write_text(json.dumps(task))
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2']
    command += ['--master_addr=127.0.0.1', f'--master_port={port}', str(SCRIPT)]
    command += [str(folder / 'task.json'), str(folder)]
    env = {**os.environ, 'PYTHONPATH': str(SCRIPT.parents[2]), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f'rank{rank}.json').read_text()) for rank in range(2)]
