import geopandas as gpd
import pytest
import shapely

from geo_mm.catalog import CatalogEntry, read_catalog
from geo_mm.errors import CatalogError


@pytest.fixture
def root(tmp_path):
    for name in ('b.tif', 'a.tif', 'a.gpkg', 'b.gpkg'):
        (tmp_path / name).touch()
    return tmp_path


def test_a_dict_is_one_entry_with_absolute_paths(root):
    (entry,) = read_catalog(dict(image='a.tif', labels='a.gpkg'), root=root)
    assert entry == CatalogEntry(image=str(root / 'a.tif'), labels=str(root / 'a.gpkg'), name='a')


def test_plain_paths(root):
    entries = read_catalog([root / 'b.tif', str(root / 'a.tif')])
    assert [entry.name for entry in entries] == ['b', 'a']


def test_several_files_are_one_scene(root):
    (entry,) = read_catalog([dict(image=['a.tif', 'b.tif'])], root=root)
    assert entry.image == (str(root / 'a.tif'), str(root / 'b.tif'))
    assert entry.name == 'a'


def test_csv_paths_start_from_its_folder_and_empty_cells_are_unset(root):
    table = root / 'catalog.csv'
    table.write_text('image,labels,split\na.tif,a.gpkg,train\nb.tif,,val\n')
    entries = read_catalog('catalog.csv', root=root)
    assert [entry.labels for entry in entries] == [str(root / 'a.gpkg'), None]
    assert [entry.split for entry in entries] == ['train', 'val']


def test_groups_of_scenes_in_a_table_may_be_numbers(root):
    (root / 'catalog.csv').write_text('image,group\na.tif,7\nb.tif,\n')
    assert [entry.group for entry in read_catalog(root / 'catalog.csv')] == ['7', None]
    with pytest.raises(CatalogError, match='group=7'):
        read_catalog(dict(image='a.tif', group=7), root=root)


def test_csv_with_the_byte_order_mark_of_excel(root):
    (root / 'catalog.csv').write_text('image\na.tif\n', encoding='utf-8-sig')
    assert read_catalog(root / 'catalog.csv')[0].name == 'a'


def test_geopackage_of_footprints(root):
    frame = gpd.GeoDataFrame(
        {'image': ['a.tif', 'b.tif'], 'labels': ['a.gpkg', None], 'split': ['train', 'val']},
        geometry=[shapely.box(0, 0, 1, 1)] * 2,
        crs='EPSG:4326',
    )
    frame.to_file(root / 'catalog.gpkg')
    entries = read_catalog(root / 'catalog.gpkg', split='val')
    assert [(entry.name, entry.labels) for entry in entries] == [('b', None)]


def test_an_entry_without_split_belongs_to_all(root):
    scenes = [dict(image='a.tif'), dict(image='b.tif', split='val')]
    assert [e.name for e in read_catalog(scenes, root=root, split='train')] == ['a']
    assert [e.name for e in read_catalog(scenes, root=root, split='val')] == ['a', 'b']


def test_area_as_text_or_numbers(root):
    scenes = [dict(image='a.tif', area='0, 0, 0.5, 1'), dict(image='b.tif', area=(0, 0, 0.5, 1))]
    assert {entry.area for entry in read_catalog(scenes, root=root)} == {(0.0, 0.0, 0.5, 1.0)}


@pytest.mark.parametrize(
    'path', ['/vsicurl/http://x.org/a.tif', 's3://bucket/a.tif', 'NETCDF:"/data/a.nc":red']
)
def test_what_gdal_opens_without_such_a_file_is_left_to_gdal(path, root):
    assert read_catalog(dict(image=path), root=root)[0].image == path


@pytest.mark.parametrize(
    ('scenes', 'message'),
    [
        ([], 'no scenes'),
        (dict(image='c.tif'), 'no such file: .*c.tif'),
        (dict(image='a.tif', labels='c.gpkg'), 'no such file: .*c.gpkg'),
        (dict(image='x*.tif'), r'no file matches .*x\*.tif'),
        (dict(image='a.tif', label='a.gpkg'), '(?s)columns image, label.*rename or remove label'),
        (dict(labels='a.gpkg'), '(?s)entry 0.*add `image`'),
        (dict(image='a.tif', labels=['a.gpkg']), 'labels='),
        ('nowhere.csv', 'nowhere.csv: no such catalog file'),
        (dict(image='a.tif', area=(0.5, 0, 0.2, 1)), 'area .*fractions'),
        (dict(image='a.tif', area='left'), "area 'left'"),
    ],
)
def test_mistakes(scenes, message, root):
    with pytest.raises(CatalogError, match=message.replace('area .*', '(?s)area .*')):
        read_catalog(scenes, root=root)


def test_a_split_that_does_not_exist_lists_those_that_do(root):
    scenes = [dict(image='a.tif', split='train'), dict(image='b.tif', split='val')]
    with pytest.raises(CatalogError, match=r"(?s)'test'.*train, val"):
        read_catalog(scenes, root=root, split='test')


# --- roles ------------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path):
    for name in ('lyon_2020.tif', 'paris_2020.tif', 'lyon_2024.tif', 'paris_2024.tif'):
        (tmp_path / name).touch()
    for name in ('lyon.gpkg', 'paris.gpkg', 'dem_1.tif', 'dem_2.tif'):
        (tmp_path / name).touch()
    return tmp_path


def test_files_with_roles(pairs):
    image = dict(before='paris_2020.tif', dem=['dem_2.tif', 'dem_1.tif'])
    (entry,) = read_catalog([dict(image=image)], root=pairs)
    assert entry.image == {
        'before': (str(pairs / 'paris_2020.tif'),),
        'dem': (str(pairs / 'dem_2.tif'), str(pairs / 'dem_1.tif')),
    }
    assert entry.name == 'paris_2020'


def test_wildcards_stand_for_the_same_text_in_every_role_and_the_labels(pairs):
    image = dict(before='*_2020.tif', after='*_2024.tif', dem=['dem_?.tif'])
    lyon, paris = read_catalog(dict(image=image, labels='*.gpkg'), root=pairs)
    assert lyon.image['before'] == (str(pairs / 'lyon_2020.tif'),)
    assert lyon.image['after'] == (str(pairs / 'lyon_2024.tif'),)
    assert lyon.image['dem'] == (str(pairs / 'dem_1.tif'), str(pairs / 'dem_2.tif'))
    assert lyon.labels == str(pairs / 'lyon.gpkg')
    assert paris.image['after'] == (str(pairs / 'paris_2024.tif'),)
    assert paris.labels == str(pairs / 'paris.gpkg')


def test_a_list_of_patterns_is_one_scene(pairs):
    (entry,) = read_catalog([dict(image=['paris_*.tif', 'dem_1.tif'])], root=pairs)
    assert [path[-9:] for path in entry.image] == ['_2020.tif', '_2024.tif', 'dem_1.tif']


def test_roles_in_the_columns_of_a_table(pairs):
    table = pairs / 'catalog.csv'
    table.write_text(
        'image:before,image:after,labels\nparis_2020.tif,paris_2024.tif,paris.gpkg\n'
        'lyon_2020.tif,lyon_2024.tif,\n'
    )
    paris, lyon = read_catalog(table)
    assert list(paris.image) == ['before', 'after']
    assert lyon.image['after'] == (str(pairs / 'lyon_2024.tif'),)


@pytest.mark.parametrize(
    ('scenes', 'message'),
    [
        (dict(image=dict(after='nizza.tif')), 'role after: no such file: .*nizza.tif'),
        (dict(image=dict(a='*_2020.tif', b='{stem}.tif', c='x/*')), 'role c: no such file'),
        (dict(image=dict(a='*_2020.tif', b='*_*.tif')), r'role b: 2 wildcards in .*, 1 in \*_2020'),
        (
            [dict(image=dict(a='dem_1.tif')), dict(image=dict(b='dem_2.tif'))],
            'dem_2 has files of the roles b, dem_1 of a',
        ),
        (
            [dict(image='dem_1.tif'), dict(image=dict(b='dem_2.tif'))],
            r'dem_2 has files of the roles b, dem_1 of \(none\)',
        ),
    ],
)
def test_mistakes_with_roles(scenes, message, pairs):
    with pytest.raises(CatalogError, match=message):
        read_catalog(scenes, root=pairs)


def test_an_empty_cell_of_a_role_is_named(pairs):
    table = pairs / 'catalog.csv'
    table.write_text('image:before,image:after\nparis_2020.tif,paris_2024.tif\nlyon_2020.tif,\n')
    with pytest.raises(CatalogError, match='lyon_2020 has files of the roles before, paris_2020'):
        read_catalog(table)


def test_several_splits(root):
    scenes = [dict(image='a.tif', split='train'), dict(image='b.tif', split='val')]
    scenes.append(dict(image='c.tif', split='test'))
    (root / 'c.tif').touch()
    found = read_catalog(scenes, root=root, split=['train', 'test'])
    assert [entry.name for entry in found] == ['a', 'c']
    with pytest.raises(CatalogError, match=r"(?s)no scene belongs to split 'tset'.*test, train"):
        read_catalog(scenes, root=root, split=['train', 'tset'])
    with pytest.raises(CatalogError, match='no scene belongs to split'):
        read_catalog(scenes, root=root, split=[])


def test_further_columns_of_a_table_are_left_out_with_one_warning(root, caplog):
    (root / 'c.csv').write_text('image,split,sensor,Shape_Area\na.tif,train,WV2,3\nb.tif,val,,\n')
    assert [entry.split for entry in read_catalog(root / 'c.csv')] == ['train', 'val']
    assert [record.message for record in caplog.records] == [
        f'{root / "c.csv"}: the columns sensor, Shape_Area are not used'
    ]


@pytest.mark.parametrize('column', ['label', 'Labels', 'lables'])
def test_a_misspelt_column_of_a_table(root, column):
    (root / 'c.csv').write_text(f'image,{column}\na.tif,a.gpkg\n')
    with pytest.raises(CatalogError, match=f"has a column '{column}', but none 'labels'"):
        read_catalog(root / 'c.csv')


def test_a_table_without_images_lists_its_columns(root):
    (root / 'c.csv').write_text('file,split\na.tif,train\n')
    with pytest.raises(CatalogError, match=r'(?s)has the columns file, split.*`image`'):
        read_catalog(root / 'c.csv')


def test_a_comma_outside_quotes(root):
    (root / 'c.csv').write_text('image,area\na.tif,0,0,1,1\n')
    with pytest.raises(CatalogError, match=r'(?s)row 1 has more cells.*in quotes'):
        read_catalog(root / 'c.csv')
