"""A folder to publish: weights, config, a page about the model, a STAC item.

The layout is that of a model repository of Hugging Face; ``README.md`` begins with
the fields that its site reads. Publishing is left to the user's own client.
"""

import datetime
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

import geo_mm
from geo_mm.deploy.description import needs
from geo_mm.deploy.weights import facts_of, write_safetensors
from geo_mm.formats.provenance import FileRecord, Provenance
from geo_mm.formats.stac import stac_model_item
from geo_mm.inference.model import TrainedModel, read_trained
from geo_mm.paths import file_sha256, make_folder, reported, write_text

if TYPE_CHECKING:
    from geo_mm.deploy.options import ModelExportOptions

logger = logging.getLogger(__name__)

_ITEM = 'stac-item.json'
_PICTURES = '*/vis_data/vis_image/*.png'
"""Where training leaves sheets of image, ground truth and prediction."""


def write_card(model: TrainedModel, path: Path, options: 'ModelExportOptions') -> Path:
    """Write a folder with ``README.md``, ``model.safetensors``, configs and a STAC item.

    Args:
        model: The trained model.
        path: The folder.
        options: ``license``.

    A ``README.md`` that someone has edited since it was written stays, and the new page
    is ``README.new.md``.

    Returns:
        The folder.

    Raises:
        OutputError: If a file cannot be written, or pystac is not installed.
    """
    folder, data = make_folder(path), read_trained(model.checkpoint)
    facts = facts_of(model, data)
    weights = write_safetensors(model, folder / 'model')
    picture = _preview(model, folder)
    write_text(folder / 'config.json', json.dumps(_config(model), indent=2) + '\n')
    write_text(folder / 'config.py', model.given_config.pretty_text)
    page = folder / 'README.md'
    text = _readme(model, path.name, facts, options.license, picture)
    edited = _is_edited(page)
    write_text(folder / 'README.new.md' if edited else page, text)
    files: dict[Path, str | None] = {weights: 'safetensors.torch.save_file'}
    files |= {} if edited else {page: None}
    files |= {folder / 'config.json': None} | ({} if picture is None else {picture: None})
    item = stac_model_item(files, _made(model, facts), path.name, options.license)
    found = item.to_dict(include_self_link=False, transform_hrefs=False)
    write_text(folder / _ITEM, json.dumps(found, indent=2) + '\n')
    return folder


def _is_edited(page: Path) -> bool:
    """Whether a page is not as an earlier export wrote it, which its STAC item says."""
    if not page.is_file():
        return False
    with reported(page):
        found = f'1220{file_sha256(page)}'
    try:
        item = json.loads((page.parent / _ITEM).read_text(encoding='utf-8'))
        if item['assets'][page.name]['file:checksum'] == found:
            return False
    except (OSError, ValueError, LookupError, TypeError):
        pass
    logger.warning('%s was edited and stays as it is; the new page is README.new.md', page)
    return True


def _made(model: TrainedModel, facts: Mapping) -> Provenance:
    """Where the model comes from, with the time at which training wrote it."""
    time = datetime.datetime.fromtimestamp(
        os.path.getmtime(model.checkpoint), datetime.timezone.utc
    )
    return Provenance(
        checkpoints=(FileRecord.of(model.checkpoint),),
        spec=model.spec,
        config=model.config_name or Path(model.checkpoint).stem,
        inputs=(),
        options={},
        command=(),
        folder='',
        started=time.isoformat(timespec='seconds'),
        model={'pretrained': None, **facts['about']},
    )


def _preview(model: TrainedModel, folder: Path) -> Path | None:
    """The newest sheet of validation beside the checkpoint, copied."""
    pictures = sorted(Path(model.checkpoint).parent.glob(_PICTURES), key=os.path.getmtime)
    if not pictures:
        return None
    with reported(folder):
        return Path(shutil.copyfile(pictures[-1], folder / 'preview.png'))


def _task(model: TrainedModel) -> str:
    if model.spec.of_pixels:
        return 'semantic-segmentation'
    return 'instance-segmentation' if model.about()['masks'] else 'object-detection'


def _config(model: TrainedModel) -> dict:
    """What programs look for in ``config.json``."""
    labels = dict(enumerate(model.spec.classes.names))
    return {
        'model_type': 'geo_mm',
        'architectures': [model.about()['architecture']],
        'task': _task(model),
        'id2label': {str(index): name for index, name in labels.items()},
        'label2id': {name: index for index, name in labels.items()},
        'num_channels': len(model.spec.bands),
        'image_size': list(model.spec.chip_size),
        'geo_mm_version': geo_mm.__version__,
        'input_spec': model.spec.to_dict(),
    }


def _readme(
    model: TrainedModel, name: str, facts: Mapping, licence: str | None, picture: Path | None
) -> str:
    head = yaml.safe_dump(_front_matter(model, name, facts, licence), sort_keys=False)
    body = '\n'.join(_body(model, name, facts, picture))
    return f'---\n{head}---\n\n{body}\n'


def _plain(text: str) -> str:
    """Text out of a checkpoint as one line of Markdown that is text alone."""
    return re.sub(r'([\\`*_{}\[\]<>()#|!])', r'\\\1', ' '.join(str(text).split()))


def _published(source: str) -> str:
    """Weights by their address, those of a file by its name alone."""
    return source if '://' in source else Path(source).name


def _front_matter(model: TrainedModel, name: str, facts: Mapping, licence: str | None) -> dict:
    kind = 'object-detection' if _task(model) == 'object-detection' else 'image-segmentation'
    scores = [
        {'type': metric.lower(), 'name': metric, 'value': round(value, 4)}
        for metric, value in facts['metrics'].items()
    ]
    result = {
        'task': {'type': kind},
        'dataset': {'type': 'custom', 'name': 'validation split of the training data'},
        'metrics': scores,
    }
    index = {'model-index': [{'name': name, 'results': [result]}]} if scores else {}
    return {
        'library_name': 'geo_mm',
        'license': licence or 'unknown',
        'pipeline_tag': kind,
        'tags': ['remote-sensing', 'geospatial', _task(model)],
        **index,
    }


def _body(model: TrainedModel, name: str, facts: Mapping, picture: Path | None) -> Iterator[str]:
    spec, about = model.spec, facts['about']
    task = _task(model).replace('-', ' ')
    yield f'# {name}\n'
    yield f'{about["architecture"]}, {about["parameters"]:,} parameters, for {task}.\n'
    if picture is not None:
        yield f'![Image, ground truth and prediction]({picture.name})\n'
    yield '## Input\n'
    yield f'It needs {needs(spec)}; nodata: {spec.nodata}. Other GSDs are resampled.\n'
    yield '| band | mean | standard deviation |\n|---|---|---|'
    for band, mean, std in zip(spec.bands, spec.mean, spec.std, strict=True):
        yield f'| {_plain(band)} | {mean:g} | {std:g} |'
    yield '\n## Output\n\n| value | class | colour |\n|---|---|---|'
    for value, label, colour in spec.classes.items():
        yield f'| {value} | {_plain(label)} | {"#{:02x}{:02x}{:02x}".format(*colour)} |'
    yield '\n## Use\n\n```bash\ngeo-mm describe model.safetensors --image scene.tif'
    yield 'geo-mm predict model.safetensors scene.tif -o out\n```\n'
    yield '## Training\n'
    height, width = spec.chip_size
    iterations = facts['meta'].get('iter', 'an unknown number of')
    yield f'{iterations} iterations on chips of {width} x {height} pixels, with `config.py`.'
    if about.get('pretrained'):
        sources = map(_published, about['pretrained'].split('; '))
        licence = about.get('pretrained_licence')
        said = f'{_plain(licence)}.' if licence else 'it is not recorded in the checkpoint.'
        cite = about.get('pretrained_citation')
        yield (
            f'Training started from {_plain(", ".join(sources))}, whose licence '
            f'applies to these weights, too: {said}'
            + (f' To cite: {_plain(cite)}.' if cite else '')
        )
    if facts['metrics']:
        yield '\nScores of the validation split, which training may have been stopped by:\n'
        yield '| metric | value |\n|---|---|'
        for metric, value in facts['metrics'].items():
            yield f'| {_plain(metric)} | {value:.4g} |'
