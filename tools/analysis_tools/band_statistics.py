"""Print mean and standard deviation of a config's training scenes, band by band."""

import argparse

from rich.progress import track

from geo_mm import env
from geo_mm.errors import report_errors


def main() -> None:
    env.require()
    from mmengine.config import DictAction
    from mmengine.registry import DATASETS, init_default_scope

    from geo_mm.datasets import chip_datasets
    from geo_mm.engine.launch import explained_config_errors, load_config
    from geo_mm.raster import band_statistics

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value overrides')
    args = parser.parse_args()
    config = load_config(args.config, args.cfg_options)
    init_default_scope(config.get('default_scope', 'mmengine'))
    with explained_config_errors():
        dataset = DATASETS.build(config.train_dataloader.dataset)
    scenes = [item.scene for _, chips in chip_datasets(dataset) for item in chips.labelled]
    statistics = band_statistics(track(scenes, description='reading', transient=True))
    for name, low, mean, high in zip(
        statistics.names, statistics.min, statistics.mean, statistics.max, strict=True
    ):
        print(f'# {name}: {low:g} to {high:g}, mean {mean:g}')
    print(f'mean = [{", ".join(f"{value:.4g}" for value in statistics.mean)}]')
    print(f'std = [{", ".join(f"{value:.4g}" for value in statistics.std)}]')


if __name__ == '__main__':
    with report_errors():
        main()
