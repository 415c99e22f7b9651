"""Draw chips of a config as model input, with labels and valid area.

Magenta is what takes no part: pixels without data, and boxes of ignored objects.
"""

import argparse
from pathlib import Path

from geo_mm.cli.arguments import add_config, overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add = parser.add_argument
    add('-o', '--output', default='work_dirs/browse', help='folder for the PNG')
    add('-n', '--number', type=int, default=16, help='chips to draw')
    add('--split', choices=('train', 'val', 'test'), default='train')
    add('--columns', type=int, default=4, help='chips per row')


def run(args: argparse.Namespace) -> None:
    from geo_mm import env

    env.require()
    from geo_mm.engine.launch import load_config
    from geo_mm.visualization.browse import browse_chips

    config = load_config(args.config, overrides(args.cfg_options))
    sheet = browse_chips(config, args.split, args.number, args.columns)
    path = Path(args.output, f'{Path(args.config).stem}_{args.split}.png')
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    height, width = sheet.info['size']
    print(f'{sheet.info["number"]} chips of {width} x {height} pixels: {path}')
