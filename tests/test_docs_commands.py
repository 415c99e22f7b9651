"""The commands of the documentation are run, page by page, each in a folder of its own.

The files that a page names are those of ``tests/data/user_files.py``. Trainings
are shortened by one rule, ``SHORTER``; all else is typed as the page says.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.data.pages import ROOT, Block, blocks, commands
from tests.data.user_files import write_user_files

# A training has 4 iterations, a range test 20 learning rates.
SHORTER = {
    r'iter_\d+': 'iter_4',
    r'(max_iters|val_interval)=\d+': r'\1=4',
    r'lr_find\(\)': 'lr_find(iterations=20, trials=20)',
    r'fit\(10\)': 'fit(iters=4)',
}
# Batches of two chips, since the time of larger ones says nothing about the commands; processes
# that read chips would take longer to start than all else.
FOUR_ITERATIONS = (
    ' --cfg-options train_cfg.max_iters=4 train_cfg.val_interval=4 train_dataloader.batch_size=2'
    + ''.join(
        f' {split}_dataloader.num_workers=0 {split}_dataloader.persistent_workers=False'
        for split in ('train', 'val', 'test')
    )
)


TOWN = 'geo-mm synthetic data/town --size 512'
TOWN_UNET = (
    TOWN,
    'geo-mm train configs/unet/unet-s5-d16-c16_adamw-2k_town-256x256.py --work-dir work_dirs/town',
)
BANEPA = 'unet-s5-d16-c16_adamw-2k_banepa-256x256'

ENVIRONMENT = 'sets up or activates an environment: the tests run in theirs'
SLURM = 'needs SLURM; tests/test_tools/test_slurm.py runs it where it is installed'
INTERNET = 'downloads from the internet'


@dataclass(frozen=True)
class Page:
    """How a page is run: what is done before, what words stand for, what is left out and why."""

    before: tuple[str, ...] = ()
    words: dict[str, str] = field(default_factory=dict)
    skip: dict[str, str] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    python: str = ''


# A network that has learnt nothing sees objects everywhere, and outlines take their time.
FEW_MASKS = f'{FOUR_ITERATIONS} model.test_cfg.rcnn.max_per_img=10'
ROOFS = (
    "geo-mm new unet --images 'ortho/*.tif' --labels roofs.gpkg -o roofs.py",
    'geo-mm train roofs.py',
)
SMALL_BLOCKS = {'--folds 5': '--folds 5 --block-size 150 --buffer 50'}  # scenes of 400 m
WARNS = {'--fail-on warning': 1}  # of a part of a town that has no buildings
UNET = 'work_dirs/town/iter_4.pth'
TOWN_SCENE = 'data/town/images/town_3.tif'

PAGES = {
    'README.md': Page(
        words={
            'geo-mm train roofs.py': f'geo-mm train roofs.py{FEW_MASKS}',
            # The range test is run by python.md.
            'model.fit(10)': 'model.config.model.test_cfg.rcnn.max_per_img = 10\n'
            'model.fit(iters=4, lr=1e-3)',
        },
        skip={'make demo': ENVIRONMENT, 'make test': ENVIRONMENT},
    ),
    'docs/en/quickstart.md': Page(skip={'source .venv': ENVIRONMENT}),
    'docs/en/python.md': Page(),
    'docs/en/own_data.md': Page(
        before=('for x in a b c d; do cp masks/$x.png ortho/${x}_mask.png; done',),
        words={'geo-mm train roofs.py': f'geo-mm train roofs.py{FEW_MASKS}'},
        skip={
            '--stac https': INTERNET,
            'work_dirs/change': 'needs a model of scenes with the roles before and after',
        },
    ),
    'docs/en/doctor.md': Page(before=(TOWN, ROOFS[0]), status=WARNS),
    'docs/en/splits.md': Page(words=SMALL_BLOCKS),
    'docs/en/prediction.md': Page(
        before=(
            *TOWN_UNET,
            'mkdir -p work_dirs/demo/model work_dirs/demo/town/images',
            f'cp {UNET} work_dirs/demo/model; '
            f'cp {TOWN_SCENE} work_dirs/demo/town/images/town_5.tif',
        ),
        words={
            'SCENE [SCENE ...]': TOWN_SCENE,
            'SCENE 4 -o OUT': f'{TOWN_SCENE} 2 -o two',
            'CHECKPOINT': UNET,
            'OUT': 'out',
        },
        skip={'slurm': SLURM},
        python=f'import rasterio\nwith rasterio.open("{TOWN_SCENE}") as scene:\n'
        '    array, transform = scene.read(), scene.transform\n',
    ),
    'docs/en/deploy.md': Page(
        before=(
            *ROOFS,
            'cp work_dirs/roofs/iter_4.pth roofs.pth',
            'geo-mm export roofs.pth --to pt2 -o . --name roofs',
        ),
        skip={
            '30e.emd': 'a file of arcgis.learn, which may not be copied',
            'make qgis': 'is run by tests/test_tools/test_qgis_plugin.py',
            'export_matrix': 'takes an hour',
        },
        python='import torch\nimage = torch.full((1, 4, 256, 256), 1000.0)\n',
    ),
    'docs/en/evaluation.md': Page(
        before=(
            f'geo-mm train configs/unet/{BANEPA}.py',
            f'geo-mm predict work_dirs/{BANEPA} data/banepa_a/banepa_a.tif -o out --polygons',
            'cp results/town_3.gpkg out',
        ),
        words={
            'PRED TRUTH [-o OUT]': 'out/town_3.gpkg labels/town_3.gpkg -o out/scores',
            # There is no record of a scene beside that layer, since geo_mm did not predict it.
            'area=(0.667, 0, 1, 1),': '',
            'CONFIG CHECKPOINT': f'configs/unet/{BANEPA}.py work_dirs/{BANEPA}/iter_4.pth',
        },
    ),
    'docs/en/view.md': Page(before=('cp -r results out',)),
    'docs/es/quickstart.md': Page(
        words={'geo-mm train roofs.py': f'geo-mm train roofs.py{FEW_MASKS}'},
        skip={'source .venv': ENVIRONMENT, 'make demo': ENVIRONMENT},
    ),
    'docs/es/own_data.md': Page(
        words={'geo-mm train tejados.py': f'geo-mm train tejados.py{FEW_MASKS}'},
    ),
    'docs/es/python.md': Page(),
    'docs/es/doctor.md': Page(
        before=(
            TOWN,
            "geo-mm new unet --images 'orto/*.tif' --labels tejados.gpkg -o tejados.py",
        ),
        status=WARNS,
    ),
    'docs/es/splits.md': Page(words=SMALL_BLOCKS),
    'docs/es/deploy.md': Page(
        before=(
            "geo-mm new unet --images 'orto/*.tif' --labels tejados.gpkg -o tejados.py",
            'geo-mm train tejados.py',
        ),
        skip={'make qgis': 'is run by tests/test_tools/test_qgis_plugin.py'},
    ),
}

# tests/test_docs.py checks the options of their commands, and that their configs build.
NOT_RUN = {
    'docs/en/benchmarks.md': 'measures for hours, and installs other packages',
    'docs/en/gallery.md': 'trains for half an hour',
    'docs/en/install.md': 'installs: conda, CUDA and Docker are not on the machine of the tests',
    'docs/en/model_zoo.md': 'trains every config, for hours',
    'docs/en/scale.md': 'needs SLURM, a cluster or an object store; tests/test_cluster.py and '
    'the notebook config_to_cluster.ipynb run its commands on one machine',
    'docs/en/weights.md': INTERNET,
    'docs/es/weights.md': INTERNET,
    'docs/en/transfer.md': f'{INTERNET}, and trains for hours',
    'docs/en/trust.md': 'its two commands are forms that refer to a model with custom code',
    'docs/en/configs.md': 'tests/test_cli runs its commands on smaller data',
    'docs/en/extending.md': 'tests/test_docs.py builds its configs; the loop trains five models',
    'docs/en/formats.md': 'tests/test_formats and tests/test_chip_export run its commands',
    'docs/en/outputs.md': 'needs QGIS',
    'docs/en/synthetic.md': 'quickstart.md makes the town',
    'docs/en/training.md': 'own_data.md trains its config; the rest needs GPUs, SLURM or machines',
}


def pages_with_commands() -> set[str]:
    pages = [ROOT / 'README.md', *(ROOT / 'docs').rglob('*.md')]
    return {str(page.relative_to(ROOT)) for page in pages if commands_of(page)}


def commands_of(page: Path) -> list[str]:
    bash = (block.text for block in blocks(page) if block.language == 'bash')
    return [command for text in bash for command in commands(text)]


def test_every_page_is_run_or_has_a_reason():
    assert pages_with_commands() - {*PAGES, *NOT_RUN} == set()
    assert {*PAGES} & {*NOT_RUN} == set()


@pytest.mark.parametrize('name', PAGES)
def test_what_is_left_out_is_on_the_page(name):
    found = commands_of(ROOT / name)
    expected = [*PAGES[name].skip, *PAGES[name].status]
    assert [part for part in expected if not any(part in command for command in found)] == []


@pytest.fixture(scope='module')
def user_files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('user')
    write_user_files(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('name', PAGES)
def test_the_commands_of_a_page_run(name, user_files, tmp_path):
    page = PAGES[name]
    folder = tmp_path / 'geo_mm'
    shutil.copytree(user_files, folder, copy_function=os.link)
    shutil.copytree(ROOT / 'configs', folder / 'configs')
    (folder / 'tools').symlink_to(ROOT / 'tools')
    save_configs(ROOT / name, folder)
    (folder / 'script.py').write_text(script(ROOT / name, page))
    for command in [*page.before, *steps(ROOT / name)]:
        if not any(part in command for part in page.skip):
            status = next((page.status[part] for part in page.status if part in command), 0)
            run(shortened(command, page), folder, status)


def steps(page: Path) -> Iterator[str]:
    """The commands of a page in order; its Python blocks are one script, where the first is."""
    seen = False
    for block in blocks(page):
        if block.language == 'bash':
            yield from commands(block.text)
        elif uses_package(block) and not seen:
            seen = True
            yield 'python script.py'


def uses_package(block: Block) -> bool:
    """Whether it is to be typed, and not a part of a config."""
    return block.language == 'python' and bool(re.match(r'(import|from) |result = ', block.text))


def save_configs(page: Path, folder: Path) -> None:
    """Configs that the page shows, under the name in their first line."""
    for block in blocks(page):
        if path := re.match(r'# (\S+\.py)(,.*)?\n', block.text):
            (folder / path[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / path[1]).write_text(block.text)


def shortened(text: str, page: Page) -> str:
    for word, meaning in page.words.items():
        text = text.replace(word, meaning)
    for pattern, replacement in SHORTER.items():
        text = re.sub(pattern, replacement, text)
    if re.search(r'geo-mm train|dist_train', text) and 'max_iters' not in text:
        text += FOUR_ITERATIONS
    return text


def script(path: Path, page: Page) -> str:
    """The Python blocks as python.md says that a script is written."""
    text = page.python + '\n'.join(block.text for block in blocks(path) if uses_package(block))
    return f"if __name__ == '__main__':\n{textwrap.indent(shortened(text, page), '    ')}"


# Stands for the browser: opens the page, then presses Ctrl-C.
BROWSER = f"""#!{sys.executable}
import os, signal, sys, urllib.request
assert b'<title>' in urllib.request.urlopen(sys.argv[1]).read()
os.kill(os.getppid(), signal.SIGINT)
"""


def run(command: str, folder: Path, status: int = 0) -> None:
    """Types a command in a folder; an exit status other than ``status`` fails the test."""
    browser = folder.parent / 'browser'
    browser.write_text(BROWSER)
    browser.chmod(0o755)
    environment = {
        **os.environ,
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        'PYTHONPATH': str(ROOT),
        'BROWSER': f'{browser} %s &',
    }
    start = time.monotonic()
    done = subprocess.run(
        ['bash', '-euc', command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        # Whoever runs the tests in the background ignores Ctrl-C; a terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    print(f'{time.monotonic() - start:.1f} s: {command}')
    assert done.returncode == status, f'{command}\n{done.stdout[-3000:]}'
