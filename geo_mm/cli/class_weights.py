"""Print how often a config's classes occur in training, and for pixels weights for the loss."""

import argparse

from geo_mm.cli.arguments import add_config, overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)


def run(args: argparse.Namespace) -> None:
    from geo_mm import env

    env.require()
    from rich.progress import track

    from geo_mm.engine.config_data import train_frequencies
    from geo_mm.engine.launch import load_config

    found = train_frequencies(
        load_config(args.config, overrides(args.cfg_options)),
        lambda chips: track(chips, description='reading', transient=True),
    )
    if isinstance(found, dict):
        for name, count in found.items():
            print(f'{name}: {count} objects')
        return
    total = max(found.pixels.sum(), 1)
    for name, pixels in zip(found.names, found.pixels, strict=True):
        print(f'# {name}: {pixels / total:.2%} of {total} labelled pixels')
    print(f'class_weight = [{", ".join(f"{weight:.3g}" for weight in found.weights())}]')
