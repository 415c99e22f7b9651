"""Draw one scene of a config side by side: image, labels and, if given, a prediction.

This is how the pictures in docs/assets/ are made; docs/en/synthetic.md has the commands.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geo_mm import env
from geo_mm.errors import ConfigError, report_errors

TEXT = 18  # pixels
GAP = 8


def parse_args() -> argparse.Namespace:
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of a pixel model')
    parser.add_argument('-o', '--output', required=True, help='picture to write: .jpg or .png')
    parser.add_argument('--prediction', help='class raster that geo-mm predict wrote')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='test')
    parser.add_argument('--scene', help='name of the scene (default: the first of the split)')
    parser.add_argument(
        '--window',
        nargs=4,
        type=int,
        metavar=('COL', 'ROW', 'WIDTH', 'HEIGHT'),
        help='part of the scene in pixels (default: all of it)',
    )
    parser.add_argument('--panel', type=int, default=440, help='width of a panel in pixels')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override settings: key=value'
    )
    return parser.parse_args()


def main() -> None:
    env.require()
    from mmengine.registry import DATASETS, init_default_scope

    from geo_mm.classes import IGNORE
    from geo_mm.datasets import chip_datasets
    from geo_mm.engine import input_spec_of
    from geo_mm.engine.launch import build_model, load_config
    from geo_mm.labels import read_onto
    from geo_mm.raster import Window
    from geo_mm.raster.rgb import to_rgb
    from geo_mm.visualization.quicklook import overlay

    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    init_default_scope(config.default_scope)
    dataset = DATASETS.build(config[f'{args.split}_dataloader'].dataset)
    spec = input_spec_of(dataset, build_model(config))
    if not spec.of_pixels:
        raise ConfigError(f'{args.config} is for {spec.task}', 'a config of a pixel model')
    found = [item for _, chips in chip_datasets(dataset) for item in chips.labelled]
    item = next((item for item in found if args.scene in (None, item.scene.name)), None)
    if item is None:
        names = ', '.join(item.scene.name for item in found)
        raise ConfigError(f'there is no scene {args.scene!r}', f'one of {names}')
    window = Window(*args.window) if args.window else Window(0, 0, *_size(item.scene))
    data, valid = item.read(window)
    picture = to_rgb(data, valid, spec.bands)
    picture[~valid] = 255
    panels = {
        'image': picture,
        'labels': overlay(picture, item.labels.classes(window), spec.classes),
    }
    if args.prediction:
        classes = read_onto(args.prediction, item.scene.grid, window, fill=IGNORE)
        panels['prediction'] = overlay(picture, classes.astype(np.uint8), spec.classes)
    legend = [(name, colour) for _, name, colour in spec.classes.items()]
    sheet = side_by_side(panels, legend, args.panel)
    path = Path(args.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=85)
    print(f'{path}: {sheet.width} x {sheet.height} pixels, {path.stat().st_size / 1000:.0f} kB')


def _size(scene) -> tuple[int, int]:
    return scene.width, scene.height


def side_by_side(
    panels: dict[str, np.ndarray], legend: list[tuple[str, tuple[int, int, int]]], width: int
) -> Image.Image:
    """Titled pictures ``(h, w, 3)`` uint8 of one size in a row, with a legend below."""
    font = ImageFont.load_default(TEXT)
    rows, cols = next(iter(panels.values())).shape[:2]
    height = round(width * rows / cols)
    line = TEXT + 2 * GAP
    size = ((width + GAP) * len(panels) - GAP, height + 2 * line)
    sheet = Image.new('RGB', size, 'white')
    draw = ImageDraw.Draw(sheet)
    for number, (title, pixels) in enumerate(panels.items()):
        left = number * (width + GAP)
        draw.text((left + 2, GAP), title, fill='black', font=font)
        panel = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(panel, (left, line))
    left, top = 2, height + line + GAP
    for name, colour in legend:
        draw.rectangle((left, top, left + TEXT, top + TEXT), fill=colour, outline='black')
        draw.text((left + TEXT + 6, top - 1), name, fill='black', font=font)
        left += TEXT + 30 + round(draw.textlength(name, font=font))
    return sheet


if __name__ == '__main__':
    with report_errors():
        main()
