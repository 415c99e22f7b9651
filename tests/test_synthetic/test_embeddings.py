"""Stand-ins for embeddings: stored as AlphaEarth's, of the town's scenes and labels."""

import csv

import numpy as np
import rasterio

from geo_mm.synthetic import make_town
from geo_mm.synthetic.embeddings import BANDS, make_embeddings


def test_embeddings_lie_on_the_town_and_are_unit_vectors(tmp_path):
    town = make_town(tmp_path, scenes=1, size=96)
    catalog = make_embeddings(town)
    (row,) = csv.DictReader(catalog.open())
    (own,) = csv.DictReader(town.open())
    assert row == own | {'image': 'embeddings/town_0.tif'}
    with (
        rasterio.open(tmp_path / 'images/town_0.tif') as image,
        rasterio.open(tmp_path / row['image']) as made,
    ):
        assert made.bounds == image.bounds and made.crs == image.crs
        assert made.res == (2.0, 2.0) and made.descriptions == BANDS
        assert made.dtypes[0] == 'int8' and made.nodata == -128
        values = made.read().astype(float)
        empty = (image.read() == 0).all(axis=0)
    missing = (values == -128).all(axis=0)
    assert ((values == -128).any(axis=0) == missing).all()
    assert missing.any() and missing.sum() >= empty.sum() / 16
    vectors = np.sign(values) * (values / 127.5) ** 2
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=0)[~missing], 1, atol=0.02)


def test_scenes_have_the_same_mixture(tmp_path):
    catalog = make_embeddings(make_town(tmp_path, scenes=2, size=64))
    first, second = (
        rasterio.open(catalog.parent / row['image']).read(masked=True).astype(float)
        for row in csv.DictReader(catalog.open())
    )
    bands = [scene.reshape(64, -1).mean(axis=1) for scene in (first, second)]
    assert np.corrcoef(*bands)[0, 1] > 0.8
