"""Write a config for your data: it looks at images and labels and chooses every setting.

geo-mm new mask-rcnn --images 'ortho/*.tif' --labels roofs.gpkg -o roofs.py
geo-mm new unet --catalog scenes.csv
geo-mm new faster-rcnn --arcgis export/

The config trains at once, with geo-mm train. Each value stands in it with its
reason, and may be changed.
"""

import argparse
from pathlib import Path

from geo_mm.cli.arguments import add_options, given
from geo_mm.new_config.plan import NewOptions
from geo_mm.new_config.recipes import RECIPES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', help=f'one of {", ".join(RECIPES)}')
    parser.add_argument('-o', '--out', type=Path, help='the config (default: MODEL.py)')
    add_options(parser, NewOptions)


def run(args: argparse.Namespace) -> None:
    from geo_mm import env

    env.require()
    from rich.console import Console

    from geo_mm.new_config.choosing import new_config

    path = args.out or Path(f'{args.model}.py')
    console = Console(highlight=False, markup=False, soft_wrap=True)
    with console.status('') as status:
        options = NewOptions(**given(args, NewOptions))
        new_config(args.model, options, path, lambda what: status.update(f'looking at {what}'))
    print(
        f'{path.read_text(encoding="utf-8")}\nwritten to {path}; train it with:\n'
        f'  geo-mm train {path}'
    )
