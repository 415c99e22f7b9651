"""The documentation must say what is there: paths, links, options and configs."""

import argparse
import re
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from geo_mm.cli import command_parser
from geo_mm.engine.launch import build_model
from tests.data.pages import ROOT, Block, blocks
from tests.data.rasters import write_raster

PAGES = [
    *(ROOT / name for name in ('README.md', 'CHANGELOG.md', 'configs/README.md')),
    *sorted((ROOT / 'docs').rglob('*.md')),
]
# Paths that the user makes, by following the docs.
USERS_OWN = ('configs/mine/',)
CONFIG_MARKER = re.compile(r'<!-- test: (?:own-data )?config -->\n$')


BLOCKS = [block for page in PAGES for block in blocks(page)]
CONFIGS = [block for block in BLOCKS if CONFIG_MARKER.search(block.before)]
COMMANDS = [
    pytest.param(line.strip(), id=f'{block.page.stem}-{number}')
    for block in BLOCKS
    if block.language == 'bash'
    for number, line in enumerate(block.text.splitlines())
    if re.match(r'(\w+=\S+ )*(geo-mm [a-z]|(python|bash) tools/)', line.strip())
]


def test_pages_and_blocks_are_found():
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {'README.md', 'docs/en/own_data.md', 'docs/es/quickstart.md'} <= names
    assert len(CONFIGS) >= 6
    assert len(COMMANDS) >= 20


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page):
    named = re.findall(r'\b((?:tools|configs)/[\w./-]+\.(?:py|sh))\b', page.read_text('utf-8'))
    missing = [
        name for name in named if not name.startswith(USERS_OWN) and not (ROOT / name).is_file()
    ]
    assert missing == []


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page):
    text = re.sub(r'```.*?```', '', page.read_text('utf-8'), flags=re.DOTALL)
    broken = []
    for target in re.findall(r'\]\(([^)\s]+)\)', text):
        if re.match(r'\w+:', target):
            continue
        path, _, anchor = target.partition('#')
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """Of headings, as GitHub makes them."""
    text = re.sub(r'```.*?```', '', page.read_text('utf-8'), flags=re.DOTALL)
    headings = re.findall(r'^#+ (.+)$', text, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def test_images_are_small():
    images = [path for path in (ROOT / 'docs/assets').rglob('*') if path.is_file()]
    assert images
    assert [path.name for path in images if path.stat().st_size > 400_000] == []


@pytest.mark.parametrize('command', COMMANDS)
def test_options_of_commands_exist(command):
    options = {word for word in command.split() if re.match(r'--?[a-z]', word)}
    # The shell scripts pass their options on.
    name = re.search(r'geo-mm (\S+)|tools/(?:dist|slurm)_(\w+)\.sh', command)
    if name:
        known = options_of(name[1] or name[2])
    else:
        tool = re.search(r'tools/\S+\.py', command)[0]
        known = set(re.findall(r"'(--?[a-z][a-z_-]*)'", (ROOT / tool).read_text('utf-8')))
    assert options <= known


def options_of(command: str) -> set[str]:
    """Options of ``geo-mm COMMAND`` that its help shows."""
    shown = (a for a in command_parser(command)._actions if a.help != argparse.SUPPRESS)
    return {option for action in shown for option in action.option_strings}


IMPORTS = sorted(
    {
        match.strip()
        for block in BLOCKS
        if block.language == 'python'
        for match in re.findall(r'^ *from geo_mm[\w.]* import [\w, ]+$', block.text, re.MULTILINE)
    }
)


@pytest.mark.parametrize('line', IMPORTS)
def test_imports_exist(line):
    exec(line, {})


@pytest.fixture(scope='module')
def checkout(tmp_path_factory) -> Path:
    """A copy of configs/, for configs that users save beside ours."""
    folder = tmp_path_factory.mktemp('checkout')
    shutil.copytree(ROOT / 'configs', folder / 'configs')
    return folder


def load(block: Block, checkout: Path) -> Config:
    """The config of a block, saved where its first line says."""
    path = checkout / re.match(r'# (\S+\.py)\n', block.text)[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)
    return Config.fromfile(path)


@pytest.mark.parametrize('block', CONFIGS, ids=str)
def test_configs_load_and_build_their_model(block, checkout):
    model = build_model(load(block, checkout))
    assert sum(parameter.numel() for parameter in model.parameters()) > 1e3


@pytest.mark.parametrize(
    'block', [block for block in CONFIGS if "data_root='data/mine/'" in block.text], ids=str
)
def test_own_data_configs_read_own_data(block, checkout, tmp_path, monkeypatch):
    """With an image and labels of the names in the config, all three parts can be read."""
    config = load(block, checkout)
    bands = config.chips.bands
    make_own_data(tmp_path / 'data/mine', config.scene, bands, points='label_cfg' in config.chips)
    monkeypatch.chdir(tmp_path)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        for part in ('train', 'val', 'test'):
            dataset = DATASETS.build(config[f'{part}_dataloader'].dataset)
            item = dataset[0]
            assert item['inputs'].shape == (len(bands), 256, 256)
            assert item['data_samples'].metainfo['scene_id'] == 'orthophoto'


def make_own_data(folder: Path, scene: dict, bands: tuple, points: bool) -> None:
    """A scene of 400 x 300 pixels of 0.5 m, labels in another CRS, and an AOI."""
    folder.mkdir(parents=True)
    left, top, gsd = 500_000.0, 4_000_000.0, 0.5
    pixels = np.random.default_rng(0).integers(1, 255, (len(bands), 300, 400), np.uint8)
    write_raster(
        folder / scene['image'],
        pixels,
        crs='EPSG:32617',
        transform=Affine(gsd, 0, left, 0, -gsd, top),
        descriptions=bands,
    )
    xy = [(left + x, top - y) for x in range(15, 200, 30) for y in range(15, 150, 30)]
    shapes = [shapely.Point(p) if points else shapely.Point(p).buffer(5) for p in xy]
    frames = {'labels': shapes, 'aoi': [shapely.box(left, top - 150, left + 200, top)]}
    for key, geometries in frames.items():
        if key in scene:
            frame = gpd.GeoDataFrame(geometry=geometries, crs='EPSG:32617')
            frame.to_crs(4326).to_file(folder / scene[key])


@pytest.mark.parametrize('tool', ['train', 'test', 'predict'])
def test_every_option_is_documented(tool):
    page = 'prediction' if tool == 'predict' else 'training'
    text = (ROOT / f'docs/en/{page}.md').read_text('utf-8')
    options = options_of(tool) - {'-h', '--help', '--out'}
    assert options
    assert sorted(option for option in options if option not in text) == []
