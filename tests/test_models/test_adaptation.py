"""Stems for other bands: which filters go where, and equal features."""

import pytest
import torch

from geo_mm.errors import ConfigError
from geo_mm.models.adaptation import adapt_stem

RGB = ('red', 'green', 'blue')
S2 = ('B1', 'B2', 'B3', 'B4', 'B5', 'B6', 'B7', 'B8', 'B8A', 'B9', 'B10', 'B11', 'B12')


def stem(count, seed=0):
    return torch.randn(8, count, 3, 3, generator=torch.Generator().manual_seed(seed))


def filters(values, theirs, ours, **rules):
    """Filters of one feature and one pixel."""
    weight = torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
    return adapt_stem(weight, theirs, ours, **rules)[0].flatten().tolist()


def test_equal_bands_by_other_names_and_in_another_order_have_the_published_filters():
    weight = stem(13)
    ours = ['B12', 'swir16', 's2:B4', 'B03', 'nir', 'B09', 'B05', 'rededge2', 'coastal']
    ours += ['B8a', 'B10', 'B07', 'blue']
    theirs = [12, 11, 3, 2, 7, 9, 4, 5, 0, 8, 10, 6, 1]
    found, table = adapt_stem(weight, S2, ours)
    assert torch.equal(found, weight[:, theirs])
    assert (table.scale, table.lost) == (1, ())
    assert {row.how for row in table.rows} == {'same name'}


@pytest.mark.parametrize('missing', ['mean', 'nearest', 'zero', 'random'])
@pytest.mark.parametrize(
    ('theirs', 'ours'),
    [(RGB, S2), (S2, (*RGB, 'nir', 'VV')), (S2, S2[:9]), (RGB, ('VV', 'red', 'thermal'))],
)
def test_bands_in_another_order_give_equal_features(theirs, ours, missing):
    weight, order = stem(len(theirs)), torch.randperm(len(ours)).tolist()
    image = torch.randn(2, len(ours), 16, 16)
    first = adapt_stem(weight, theirs, ours, missing)[0]
    other = adapt_stem(weight, theirs, [ours[i] for i in order], missing)[0]
    torch.testing.assert_close(
        torch.conv2d(image, first), torch.conv2d(image[:, order], other), atol=1e-5, rtol=1e-5
    )


def test_rgb_for_more_bands_keeps_the_colours():
    weight = stem(3)
    found, table = adapt_stem(weight, RGB, [band for band in S2 if band != 'B10'])
    assert torch.equal(found[:, [3, 2, 1]], weight)
    others = [0, *range(4, 12)]
    torch.testing.assert_close(found[:, others].sum(dim=1), weight.mean(dim=1) / 3)
    assert str(table).splitlines()[3] == 'B4  <- red          same name'
    assert str(table).splitlines()[0] == 'B1  <- mean of all  none of theirs, x 0.037'


@pytest.mark.parametrize(('missing', 'expected'), [('mean', 2.0), ('nearest', 1.0), ('zero', 0.0)])
def test_rules_for_a_band_without_a_filter(missing, expected):
    assert filters([3, 6, 9], RGB, (*RGB, 'nir'), missing=missing) == [3, 6, 9, expected]


def test_a_random_filter_has_the_spread_of_the_stem():
    weight = torch.randn(64, 3, 7, 7, generator=torch.Generator().manual_seed(0)) * 0.3 + 1
    found = [
        adapt_stem(weight, RGB, (*RGB, 'nir'), 'random', seed=seed)[0][:, 3] for seed in (5, 5, 6)
    ]
    assert found[0].std().item() == pytest.approx(weight.std().item() / 3, rel=0.05)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_band_between_theirs_is_interpolated():
    # 0.605 between green at 0.5598 and red at 0.6646, all of which are ours: damped.
    red, _, yellow = filters([10, 20], ('red', 'green'), ('red', 'green', 'yellow'))
    share = (0.605 - 0.5598) / (0.6646 - 0.5598)
    assert yellow == pytest.approx((share * 10 + (1 - share) * 20) / 3)
    assert red == 10
    # In their place it has all of their response.
    (yellow,) = filters([10, 20], ('red', 'green'), ('yellow',))
    kept = share * 10 + (1 - share) * 20
    assert yellow == pytest.approx(kept * 30 / kept)


def test_the_nearest_wavelength_within_half_a_bandwidth():
    # Landsat's near infrared is in Sentinel-2's broad B8; the red edge is in neither.
    found, table = adapt_stem(stem(1), ('nir',), ('landsat8:B5', 'rededge071'))
    assert torch.equal(found[:, :1], stem(1))
    assert [row.how for row in table.rows] == ['nearest wavelength', 'none of theirs, x 0.33']


def test_lost_bands_are_spread_over_their_neighbours():
    # 0.7041 between red at 0.6646 and nir at 0.8328.
    share = (0.7041 - 0.6646) / (0.8328 - 0.6646)
    red, nir = filters([1, 5, 10], ('red', 'rededge071', 'nir'), ('red', 'nir'))
    assert (red, nir) == pytest.approx((1 + (1 - share) * 5, 10 + share * 5))
    scaled = filters([1, 5, 10], ('red', 'rededge071', 'nir'), ('red', 'nir'), lost='scale')
    assert scaled == pytest.approx([16 / 11, 160 / 11])


@pytest.mark.parametrize('lost', ['spread', 'scale'])
@pytest.mark.parametrize('ours', [(*RGB, 'nir'), (*S2[1:8], 'B8A', 'B11', 'B12')])
def test_the_expected_response_is_kept(ours, lost):
    """Of filters that are alike, on bands that all show the same."""
    weight = stem(1).abs().expand(8, 13, 3, 3)
    found = adapt_stem(weight, S2, ours, lost=lost)[0]
    torch.testing.assert_close(found.sum(dim=1), weight.sum(dim=1))


def test_beyond_the_last_band_the_nearest_stands_in():
    theirs = ('coastal', 'red', 'swir22', 'cirrus', 'lwir11', 'VV')
    found, table = adapt_stem(torch.ones(1, 6, 1, 1), theirs, ('red', 'nir'))
    # Not for clouds, for the heat of the ground, or for radar.
    assert (found.flatten().tolist(), table.lost) == ([4, 2], ('cirrus', 'lwir11', 'vv'))
    assert [row.theirs for row in table.rows] == ['red + coastal', 'swir22']
    assert [row.how for row in table.rows] == [
        'same name, stands in for others',
        'stands in for others',
    ]


def test_several_bands_of_one_name_share_its_filter():
    ours = ('before:red', 'before:nir', 'after:red', 'after:nir')
    assert filters([4, 6], ('red', 'nir'), ours) == [2, 3, 2, 3]


def test_no_band_in_common():
    # Radar from colours: the mean of all, with the response of all.
    assert filters([3, 6, 9], RGB, ('VV', 'VH')) == [9, 9]
    for ours, missing in ((('VV', 'VH'), 'zero'), (('one', 'two'), 'mean')):
        with pytest.raises(ConfigError, match='none of them is one of the weights'):
            filters([3, 6, 9], RGB, ours, missing=missing)


def test_three_dimensional_kernels():
    weight = stem(3).unsqueeze(2)
    assert torch.equal(adapt_stem(weight, RGB, RGB[::-1])[0], weight[:, [2, 1, 0]])


def test_what_is_refused():
    with pytest.raises(ConfigError, match='no pretrained filter for nir'):
        adapt_stem(stem(3), RGB, (*RGB, 'nir'), missing='error')
    with pytest.raises(ConfigError, match="missing='red'"):
        adapt_stem(stem(3), RGB, RGB, missing='red')
    with pytest.raises(ConfigError, match='for 3 bands: red, green, blue'):
        adapt_stem(stem(4), RGB, RGB)
