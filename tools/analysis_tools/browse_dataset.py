"""Draw chips of a config as the model will see them, with labels and valid mask.

Magenta is what takes no part: pixels without data, and boxes of ignored objects.
"""

import argparse
from itertools import islice
from pathlib import Path

from geo_mm import env
from geo_mm.errors import ConfigError, report_errors


def parse_args() -> argparse.Namespace:
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('-o', '--output', default='work_dirs/browse', help='folder for the PNG')
    parser.add_argument('-n', '--number', type=int, default=16, help='chips to draw')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train')
    parser.add_argument('--columns', type=int, default=4, help='chips per row')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override settings: key=value'
    )
    return parser.parse_args()


def main() -> None:
    env.require()
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner

    from geo_mm.engine import input_spec_of
    from geo_mm.engine.launch import build_model, explained_config_errors, load_config
    from geo_mm.visualization import contact_sheet, draw_chip, with_legend

    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    init_default_scope(config.get('default_scope', 'mmengine'))
    if not config.get(f'{args.split}_dataloader'):
        raise ConfigError(f'{args.config} has no {args.split}_dataloader', fix='choose --split')
    with explained_config_errors():
        loader_config = dict(config[f'{args.split}_dataloader'], num_workers=0)
        loader_config.pop('persistent_workers', None)
        loader = Runner.build_dataloader(
            loader_config, seed=config.get('randomness', {}).get('seed', 0)
        )
        spec = input_spec_of(loader.dataset, build_model(config))
    images = []
    for index in islice(iter(loader.sampler), args.number):
        item = loader.dataset[index]
        images.append(draw_chip(item['inputs'].numpy(), item['data_samples'], spec))
    path = Path(args.output, f'{Path(args.config).stem}_{args.split}.png')
    path.parent.mkdir(parents=True, exist_ok=True)
    with_legend(contact_sheet(images, args.columns), spec.classes).save(path)
    print(f'{len(images)} chips of {spec.chip_size[1]} x {spec.chip_size[0]} pixels: {path}')


if __name__ == '__main__':
    with report_errors():
        main()
