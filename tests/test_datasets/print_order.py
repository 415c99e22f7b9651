"""The chips that one rank's loaders deliver; test_order.py runs it as two ranks."""

import json
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import torch.distributed
from mmengine.dist import get_rank

from tests.data.chips import build_loader


def orders(task: Mapping[str, Mapping], ranks: int) -> dict[str, list]:
    """The windows in the order of each case, and again after skipping the first ones."""
    found = {}
    for name, case in task.items():
        count = case['count'] // ranks if 'count' in case else None
        found[name] = delivered(case, 0, count)
        if 'skip' in case:
            found[f'{name} resumed'] = delivered(case, case['skip'], count - case['skip'])
    return found


def delivered(case: Mapping, skip: int, count: int | None) -> list[list[int]]:
    loader = build_loader('det', case['dataset'], case['sampler'], batch=1, seed=case['seed'])
    if skip:
        loader.sampler.skip(skip)
    if count is not None:  # many chips, which are not read
        locate = loader.dataset.chip_space.locate
        return [list(locate(index)[1]) for index in islice(iter(loader.sampler), count)]
    return [list(batch['data_samples'][0].window) for batch in loader]


def main() -> None:
    task, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    torch.distributed.init_process_group('gloo')
    found = orders(task, torch.distributed.get_world_size())
    (folder / f'rank{get_rank()}.json').write_text(json.dumps(found))


if __name__ == '__main__':
    main()
