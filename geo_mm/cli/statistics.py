"""Print mean and standard deviation of a config's training scenes, band by band."""

import argparse

from geo_mm.cli.arguments import add_config, overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)


def run(args: argparse.Namespace) -> None:
    from geo_mm import env

    env.require()
    from rich.progress import track

    from geo_mm.engine.config_data import train_statistics
    from geo_mm.engine.launch import load_config

    statistics = train_statistics(
        load_config(args.config, overrides(args.cfg_options)),
        lambda scenes: track(scenes, description='reading', transient=True),
    )
    for name, low, mean, high in zip(
        statistics.names, statistics.min, statistics.mean, statistics.max, strict=True
    ):
        print(f'# {name}: {low:g} to {high:g}, mean {mean:g}')
    print(f'mean = [{", ".join(f"{value:.4g}" for value in statistics.mean)}]')
    print(f'std = [{", ".join(f"{value:.4g}" for value in statistics.std)}]')
