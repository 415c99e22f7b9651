"""Files that patterns in a catalog stand for; those of roles are in test_entries."""

from geo_mm.catalog import read_catalog


def test_a_pattern_is_sorted_and_finds_labels_by_stem(tmp_path):
    for name in ('b.tif', 'a.tif', 'a.gpkg', 'b.gpkg'):
        (tmp_path / name).touch()
    entries = read_catalog(dict(image='*.tif', labels='{stem}.gpkg'), root=tmp_path)
    assert [entry.name for entry in entries] == ['a', 'b']
    assert [entry.labels for entry in entries] == [
        str(tmp_path / 'a.gpkg'),
        str(tmp_path / 'b.gpkg'),
    ]


def test_wildcards_of_several_kinds(tmp_path):
    folder = tmp_path / 'data [1]'
    for name in ('a/b/x_1.tif', 'a/y_2.tif', 'z_3.tif'):
        for root in ('image', 'mask'):
            path = folder / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    scenes = dict(image='image/**/*_[!9].tif', labels='mask/**/*_*.tif')
    entries = read_catalog(scenes, root=folder)
    assert len(entries) == 3
    for entry in entries:
        assert entry.labels == entry.image.replace('image', 'mask')
