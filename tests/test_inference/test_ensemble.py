from dataclasses import replace

import numpy as np
import pytest
import torch

from geo_mm.classes import ClassSet
from geo_mm.errors import ConfigError, SpecError
from geo_mm.inference.ensemble import VIEWS
from geo_mm.inference.model import turned
from geo_mm.raster import Scene, tile_plan
from tests.data.models import ensemble, pixel_files, spec_of, trained
from tests.data.rasters import noise, write_raster

SPEC = spec_of('pixels', ['low', 'high'], mean=(127.5,), std=(50.0,))


@pytest.fixture(scope='module')
def members(tmp_path_factory):
    folder = tmp_path_factory.mktemp('models')
    return [
        trained(pixel_files(folder / str(n), SPEC, weights))
        for n, weights in enumerate([[[0.0], [1.0]], [[0.5], [-1.0]]])
    ]


@pytest.fixture
def scene(tmp_path):
    return Scene.open(write_raster(tmp_path / 's.tif', noise((1, 32, 32))))


def first_tile(voters, scene):
    inputs, _ = voters.load(scene, tile_plan(32, 32, 32, 0)[0])
    return voters.predict([inputs])[0]


def softmax(logits):
    values = np.exp(logits)
    return values / values.sum(axis=0)


def each(scene):
    """What the two members say, in NumPy."""
    x = (scene.read()[0][0].astype(np.float64) - 127.5) / 50
    return softmax(np.stack([0 * x, x])), softmax(np.stack([0.5 * x, -x]))


def test_ensemble_is_the_mean_of_its_members(members, scene):
    one, two = each(scene)
    np.testing.assert_allclose(first_tile(ensemble(*members), scene), (one + two) / 2, atol=1e-6)


def test_ensemble_by_maximum_adds_up_to_one(members, scene):
    largest = np.maximum(*each(scene))
    found = first_tile(ensemble(*members, merge='max'), scene)
    np.testing.assert_allclose(found, largest / largest.sum(axis=0), atol=1e-6)


@pytest.mark.parametrize('tta', ['flip', 'd4'])
def test_views_of_a_model_that_looks_at_single_pixels_agree(members, scene, tta):
    plain = first_tile(ensemble(*members[:1]), scene)
    np.testing.assert_allclose(first_tile(ensemble(*members[:1], tta=tta), scene), plain, atol=1e-6)


@pytest.mark.parametrize(('tta', 'count'), [('none', 1), ('flip', 4), ('d4', 8)])
def test_views_are_all_different_and_turned_back(tta, count):
    image = torch.arange(2 * 9.0).reshape(2, 3, 3)
    item = {'inputs': image}
    views = {turned(item, view)['inputs'].numpy().tobytes() for view in VIEWS[tta]}
    assert len(views) == count
    for view in VIEWS[tta]:
        mirrored, turns = view
        back = torch.rot90(turned(item, view)['inputs'], -turns, (-2, -1))
        assert torch.equal(back.flip(-1) if mirrored else back, image)


def test_mean_over_views_of_a_model_that_looks_to_one_side(members, scene, monkeypatch):
    """Each pixel takes the left neighbour's value; seen mirrored, the right one's."""
    member = members[0]
    original = member.predict

    def shifted(inputs):
        return original([{**item, 'inputs': torch.roll(item['inputs'], 1, -1)} for item in inputs])

    monkeypatch.setattr(member, 'predict', shifted)
    found = first_tile(ensemble(member, tta='flip'), scene)
    plain = each(scene)[0]
    expected = (np.roll(plain, 1, -1) + np.roll(plain, -1, -1)) / 2
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    'changes',
    [{'classes': ClassSet(('low', 'top'))}, {'bands': ('B7',)}, {'gsd': 0.3}, {'nodata': None}],
)
def test_models_that_do_not_go_together(tmp_path, members, changes):
    other = trained(pixel_files(tmp_path, replace(SPEC, **changes), [[0.0], [1.0]]))
    with pytest.raises(SpecError, match=f'was trained with {next(iter(changes))}'):
        ensemble(members[0], other)


def test_model_that_gives_other_classes_than_it_says(tmp_path, scene):
    member = trained(pixel_files(tmp_path, SPEC, [[0.0], [1.0], [2.0]]))
    with pytest.raises(ConfigError, match='gives 3 classes'):
        first_tile(ensemble(member), scene)


def test_decision_of_binary_models(tmp_path, members):
    assert ensemble(*members).task.decision is None
    binary = [
        trained(pixel_files(tmp_path / str(n), SPEC, [[1.0]], threshold=threshold))
        for n, threshold in enumerate((0.2, 0.4))
    ]
    np.testing.assert_allclose(ensemble(*binary).task.decision, [0.3, 0.7], rtol=1e-6)
