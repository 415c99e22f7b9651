from collections import Counter, OrderedDict
from itertools import islice, product

import numpy as np
import pytest
from scipy import stats

from geo_mm.datasets import BlockChipSampler, RandomChipSampler
from geo_mm.datasets.block_sampler import interleaved
from geo_mm.errors import ConfigError
from tests.data.chips import build_dataset
from tests.data.rasters import noise, write_raster

TILED = dict(tiled=True, blockxsize=32, blockysize=32)


@pytest.fixture
def dataset(tmp_path):
    """A scene of 5 x 6.25 blocks, of which the left fifth has no data, and a small one."""
    image = noise((1, 160, 200))
    image[:, :, :40] = 0
    write_raster(tmp_path / 'a.tif', image, nodata=0, **TILED)
    write_raster(tmp_path / 'b.tif', noise((1, 40, 40)), nodata=0, **TILED)
    return build_dataset('seg', [str(tmp_path / f'{name}.tif') for name in 'ab'], chip_size=16)


def drawn(dataset, count, **options):
    sampler = BlockChipSampler(dataset, seed=1, infinite=True, **options)
    return [dataset.chip_space.locate(index) for index in islice(iter(sampler), count)]


def test_every_position_is_equally_likely_over_four_epochs(dataset):
    found = drawn(dataset, 24_000, num_chips=3000, min_valid=1.0)
    for axis, low, high, width in ((0, 48, 184, 8), (1, 0, 145, 5)):
        starts = np.array([window[axis] for scene, window in found if scene == 0])
        seen = np.bincount((starts[(starts >= low) & (starts < high)] - low) // width)
        assert len(seen) == (high - low) // width
        # Regions have their share of chips in each epoch: more even than at random.
        assert stats.chisquare(seen).pvalue > 0.01


def test_scenes_count_by_their_valid_area(dataset):
    seen = Counter(scene for scene, _ in drawn(dataset, 4000, num_chips=1000))
    assert seen[1] / 4000 == pytest.approx(1600 / (1600 + 160 * 160), abs=0.01)


def decoded(found, cached):
    """How many blocks are decoded if the last ones used stay in memory."""
    cache, count = OrderedDict(), 0
    for scene, (left, top, width, height) in found:
        rows = range(top // 32, (top + height - 1) // 32 + 1)
        cols = range(left // 32, (left + width - 1) // 32 + 1)
        for block in product([scene], rows, cols):
            count += block not in cache
            cache[block] = None
            cache.move_to_end(block)
            if len(cache) > cached:
                cache.popitem(last=False)
    return count


def test_blocks_are_decoded_about_once(dataset):
    sampler = RandomChipSampler(dataset, seed=1, infinite=True)
    at_random = [dataset.chip_space.locate(index) for index in islice(iter(sampler), 400)]
    found = drawn(dataset, 400, num_chips=400, regions=2, groups=1)
    assert decoded(found, 18) < 38  # of 34 blocks
    assert decoded(at_random, 18) > 300


def test_chips_stay_inside_regions_of_two_blocks(dataset):
    for scene, window in drawn(dataset, 200, num_chips=200):
        rows = {row // 32 for row in (window.row_off, window.row_end - 1)}
        assert len(rows) <= 2 and scene in (0, 1)


def test_pieces_are_read_side_by_side():
    order = interleaved(103, 4, 2, 3, np.random.default_rng(0))
    assert sorted(order) == list(range(103))
    of_group = [np.concatenate([order[b : b + 3] for b in range(s, 103, 6)]) for s in (0, 3)]
    assert max(of_group[0]) < min(of_group[1])
    pieces = np.repeat(range(4), [len(part) for part in np.array_split(range(len(of_group[0])), 4)])
    assert all(len({*pieces[of_group[0][n : n + 4]]}) == 4 for n in range(0, 44, 4))


def test_pieces_meet_where_they_were_cut():
    turns = np.argsort(interleaved(96, 4, 1, 1, np.random.default_rng(0))) // 4
    assert [turns[end - 1] - turns[end] for end in (24, 48, 72)] == [0, 0, 0]


def test_a_number_below_one(dataset):
    with pytest.raises(ConfigError, match='regions=0'):
        BlockChipSampler(dataset, regions=0)
