"""Writing the config of a plan, and the table of its scenes beside it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geo_mm
from geo_mm.catalog import CatalogEntry
from geo_mm.catalog.tables import write_table
from geo_mm.engine.launch import config_folder
from geo_mm.labels.reading import is_polygon_text
from geo_mm.new_config.plan import ConfigPlan, merged
from geo_mm.new_config.python_text import Code, assignment, comment, literal
from geo_mm.new_config.recipes import KINDS
from geo_mm.paths import absolute, is_local, make_folder, write_text

_INLINE = 6
"""Entries that stand in the config; more go to a table beside it."""


def write_config(plan: ConfigPlan, path: str | os.PathLike) -> None:
    """Write the config of a plan, and its table of scenes if there are many.

    Raises:
        OutputError: If that is not possible.
    """
    path = Path(path).absolute()
    make_folder(path.parent)
    if (table := scenes_table(plan, path)) is not None:
        rows = [_row(entry, '') for entry in plan.entries]
        write_table(rows, [None] * len(rows), table)
    write_text(path, config_text(plan, path))


def config_text(plan: ConfigPlan, path: Path, *, inline: bool = False) -> str:
    """The config of a plan.

    Args:
        plan: What was chosen.
        path: Where it will be, absolute: bases in the same checkout are relative to it.
        inline: Write the scenes into the config, however many.
    """
    why = plan.why
    head = (
        f'{plan.variant.what}, {"of a size for a CPU" if plan.size == "small" else "for a GPU"}: '
        f'{KINDS[plan.recipe.kind]}. Written by geo-mm new ({geo_mm.__version__}), which looked at '
        f'{plan.profile.opened} of {plan.profile.scenes} scenes to train with. What it chose '
        'stands beside each value, and every value may be changed.'
    )
    lines = [comment(head), _bases(plan, path), '\n']
    root, scenes = _scenes(plan, path, inline)
    lines += _data_lines(plan, root, scenes)
    lines += [f'\n# ---- training {"-" * 62}\n']
    lines.append(assignment('batch_size', plan.batch_size, why.get('batch_size', '')))
    lines.append(assignment('lr', plan.variant.lr, 'of AdamW, for a batch of this size'))
    lines.append(assignment('max_iters', plan.iterations, why.get('max_iters', '')))
    if plan.seed:
        lines.append(assignment('seed', plan.seed, 'of the weights and chips, and of the split'))
    if plan.variant.width:
        lines.append(assignment('width', *plan.variant.width))
        for name, value in plan.recipe.variables.items():
            lines.append(assignment(name, value))
    if plan.class_weight:
        lines.append(assignment('class_weight', plan.class_weight, why.get('class_weight', '')))
    lines += [f'# {"-" * 77}\n\n', *_settings_lines(plan, bool(root))]
    return ''.join(lines)


def _bases(plan: ConfigPlan, path: Path) -> str:
    folder = config_folder()
    library = 'seg' if plan.recipe.kind == 'seg' else 'det'
    names = (
        f'models/{plan.variant.base}',
        f'datasets/geo_{plan.recipe.kind}.py',
        'schedules/adamw_2k.py',
        f'{library}_runtime.py',
    )
    root = folder.parent
    # A config in the checkout goes with it; the folder of an installed package is absolute.
    inside = (root / 'geo_mm').is_dir() and root in path.parents
    start = os.path.relpath(folder, path.parent) if inside else str(folder)
    bases = ''.join(f'    {f"{start}/_base_/{name}"!r},\n' for name in names)
    return f'_base_ = [\n{bases}]\n'


def _data_lines(plan: ConfigPlan, root: str | None, scenes: list[str]) -> list[str]:
    why, labels, statistics = plan.why, plan.labels, plan.profile.statistics
    mean, std = plan.normalisation or (statistics.mean, statistics.std)
    lines = [f'# ---- data {"-" * 66}\n']
    if root:
        lines.append(assignment('data_root', root))
    lines += [
        comment(f'Split: {why["scenes"]}.'),
        *scenes,
        assignment('bands', plan.bands.bands, why['bands']),
        assignment('mean', [float(f'{v:.4g}') for v in mean], why['mean']),
        assignment('std', [float(f'{v:.4g}') for v in std]),
    ]
    if plan.nodata != 'auto':
        lines.append(assignment('nodata', plan.nodata, why['nodata']))
    lines += [
        assignment('classes', labels.classes.names, why.get('classes', '')),
        assignment('palette', list(labels.classes.colours)),
    ]
    label_cfg = _label_cfg(plan)
    if label_cfg:
        reasons = [f'{key}: {text}' for key, text in labels.notes.items() if key != 'classes']
        lines.append(assignment('label_cfg', label_cfg, '; '.join(reasons)))
    lines += [
        assignment('gsd', plan.gsd, why['gsd']),
        assignment('chip_size', plan.chip_size, why['chip_size']),
    ]
    return lines


def _label_cfg(plan: ConfigPlan) -> dict[str, Any]:
    """What the label options say beyond their defaults."""
    options = plan.labels.options
    values: dict[str, Any] = {
        'class_column': options.class_column,
        'class_map': options.class_map,
        'point_size': options.point_size,
        'line_width': options.line_width,
    }
    found = {key: value for key, value in values.items() if value is not None}
    if plan.recipe.kind == 'seg' and options.background not in plan.labels.classes:
        found['background'] = None
    return found


def _scenes(plan: ConfigPlan, path: Path, inline: bool) -> tuple[str | None, list[str]]:
    """The root of the data, and the lines with the scenes or the file that lists them."""
    if plan.table and not inline:
        return None, [assignment('scenes', absolute(plan.table))]
    if (table := scenes_table(plan, path)) is not None and not inline:
        return None, [assignment('scenes', str(table.absolute()))]
    files = [file for entry in plan.entries for file in _files(entry)]
    folders = {os.path.dirname(file) for file in files if _is_file(file)}
    root = os.path.commonpath(folders) if folders else ''
    if root == os.path.dirname(root):
        root = ''  # they have nothing in common but the root of the disk
    rows: list[Any] = [_row(entry, root) for entry in plan.entries]
    lines = []
    if len(rows) > 1 and len({str(row['image']) for row in rows}) == 1:
        # Parts of one scene: what they share is said once.
        shared = {
            key: value
            for key, value in rows[0].items()
            if all(key in row and row[key] == value for row in rows)
        }
        lines.append(assignment('scene', shared))
        own = [{key: value for key, value in row.items() if key not in shared} for row in rows]
        rows = [Code(literal(row).replace('dict(', 'dict(scene, ', 1)) for row in own]
    return (f'{root}/' if root else None), [*lines, assignment('scenes', rows)]


def _is_file(text: str) -> bool:
    return is_local(text) and not is_polygon_text(text)


def _files(entry: CatalogEntry) -> list[str]:
    images = entry.image
    if isinstance(images, Mapping):
        found = [file for files in images.values() for file in files]
    else:
        found = [images] if isinstance(images, str) else list(images)
    others = (entry.labels, entry.aoi, entry.weight)
    return [*found, *(file for file in others if isinstance(file, str))]


def _row(entry: CatalogEntry, root: str) -> dict[str, Any]:
    """An entry as configs have it, local files relative to a folder."""

    def local(file: str) -> str:
        return os.path.relpath(file, root) if root and _is_file(file) else file

    image: Any = entry.image
    if isinstance(image, Mapping):
        image = {role: [local(file) for file in files] for role, files in image.items()}
    else:
        image = local(image) if isinstance(image, str) else [local(file) for file in image]
    row: dict[str, Any] = {'image': image}
    for key in ('labels', 'aoi', 'weight'):
        if (value := getattr(entry, key)) is not None:
            row[key] = local(value) if isinstance(value, str) else value
    for key in ('layer', 'split', 'area', 'group'):
        if (value := getattr(entry, key)) is not None:
            row[key] = value
    return row


def scenes_table(plan: ConfigPlan, path: Path) -> Path | None:
    """The table that lists the scenes beside the config; None if they stand in it."""
    plain = all(isinstance(entry.image, str) for entry in plan.entries)
    long = len(plan.entries) > _INLINE or any(is_polygon_text(entry.aoi) for entry in plan.entries)
    return (
        path.with_name(f'{path.stem}_scenes.csv') if plan.table is None and plain and long else None
    )


def _settings_lines(plan: ConfigPlan, rooted: bool) -> list[str]:
    """What the variables are used for."""
    chips: dict[str, Any] = {'scenes': Code('scenes')}
    if rooted:
        chips['data_root'] = Code('data_root')
    names = ['bands', 'gsd', 'chip_size', *(['nodata'] if plan.nodata != 'auto' else [])]
    chips |= {name: Code(name) for name in names}
    chips['fill'] = Code('mean')
    chips['metainfo'] = {'classes': Code('classes'), 'palette': Code('palette')}
    if _label_cfg(plan):
        chips['label_cfg'] = Code('label_cfg')
    train: dict[str, Any] = {'batch_size': Code('batch_size'), 'dataset': Code('chips')}
    if plan.profile.valid < 0.9:
        train['sampler'] = {'min_valid': 0.5}
    model = merged(
        {'data_preprocessor': {'mean': Code('mean'), 'std': Code('std')}},
        merged(plan.variant.model, plan.model),
    )
    reasons = '; '.join(text for key in ('model', 'anchors') if (text := plan.why.get(key)))
    optimizer = {'optimizer': {'lr': Code('lr')}}
    length = {'max_iters': Code('max_iters'), 'val_interval': Code('max_iters // 4')}
    lines = [
        assignment('chips', chips),
        assignment('train_dataloader', train),
        assignment('val_dataloader', {'dataset': Code('chips')}),
        assignment('test_dataloader', {'dataset': Code('chips')}),
        assignment('optim_wrapper', optimizer),
        assignment('train_cfg', length),
    ]
    if plan.seed:
        lines.append(assignment('randomness', {'seed': Code('seed')}))
    if plan.load_from:
        lines.append(assignment('load_from', plan.load_from, plan.why.get('load_from', '')))
    return [*lines, comment(reasons[:1].upper() + reasons[1:]), f'model = {literal(model, 0, 8)}\n']
