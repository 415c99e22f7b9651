"""Print how often a config's classes occur in training, and for pixels weights for the loss."""

import argparse

from rich.progress import track

from geo_mm import env
from geo_mm.errors import report_errors


def main() -> None:
    env.require()
    from mmengine.config import DictAction
    from mmengine.registry import DATASETS, init_default_scope

    from geo_mm.datasets import chip_datasets, class_frequencies, object_counts
    from geo_mm.engine.launch import explained_config_errors, load_config

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value overrides')
    args = parser.parse_args()
    config = load_config(args.config, args.cfg_options)
    init_default_scope(config.get('default_scope', 'mmengine'))
    with explained_config_errors():
        dataset = DATASETS.build(config.train_dataloader.dataset)
    if chip_datasets(dataset)[0][1].objects:
        for name, count in object_counts(dataset).items():
            print(f'{name}: {count} objects')
        return
    found = class_frequencies(
        dataset, lambda chips: track(chips, description='reading', transient=True)
    )
    total = max(found.pixels.sum(), 1)
    for name, pixels in zip(found.names, found.pixels, strict=True):
        print(f'# {name}: {pixels / total:.2%} of {total} labelled pixels')
    print(f'class_weight = [{", ".join(f"{weight:.3g}" for weight in found.weights())}]')


if __name__ == '__main__':
    with report_errors():
        main()
