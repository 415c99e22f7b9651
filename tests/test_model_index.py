"""model-index.yml, the metafiles and the READMEs of configs/ list what is there."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = {path.relative_to(ROOT).as_posix() for path in ROOT.glob('configs/[!_]*/*.py')}
METAFILES = sorted(
    path.relative_to(ROOT).as_posix() for path in ROOT.glob('configs/*/metafile.yml')
)
FOLDERS = sorted({path.rsplit('/', 1)[0] for path in CONFIGS})


def load(path: str) -> dict:
    return yaml.safe_load((ROOT / path).read_text('utf-8'))


def test_every_folder_has_a_metafile_that_the_index_imports():
    assert [f'{folder}/metafile.yml' for folder in FOLDERS] == METAFILES
    assert load('model-index.yml') == {'Import': METAFILES}


def test_every_config_is_listed_once():
    listed = [model['Config'] for path in METAFILES for model in load(path)['Models']]
    assert sorted(listed) == sorted(CONFIGS)


@pytest.mark.parametrize('path', METAFILES)
def test_metafile(path):
    (collection,), models = load(path)['Collections'], load(path)['Models']
    assert (ROOT / collection['README']).is_file()
    assert re.fullmatch(r'https://arxiv\.org/abs/\d{4}\.\d{4,5}', collection['Paper']['URL'])
    assert collection['Paper']['Title'] in (ROOT / collection['README']).read_text('utf-8')
    for model in models:
        assert model['In Collection'] == collection['Name']
        assert model['Config'] == f'{Path(path).parent.as_posix()}/{model["Name"]}.py'


@pytest.mark.parametrize('folder', FOLDERS)
def test_readme_lists_every_config_of_its_folder(folder):
    text = (ROOT / folder / 'README.md').read_text('utf-8')
    linked = re.findall(r'^\| \[`[^`]+`\]\(([^)]+\.py)\)', text, re.MULTILINE)
    assert sorted(linked) == sorted(path.name for path in (ROOT / folder).glob('*.py'))


def test_the_list_of_algorithms_is_complete():
    text = (ROOT / 'configs' / 'README.md').read_text('utf-8')
    missing = [folder for folder in FOLDERS if f'({Path(folder).name}/README.md)' not in text]
    assert missing == []
