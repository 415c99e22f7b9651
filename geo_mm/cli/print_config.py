"""Print a config with its bases merged and its overrides applied.

Of a checkpoint (.pth) it prints the config that the model was trained with.
Variables that only help to write the file are left out.
"""

import argparse

from geo_mm.cli.arguments import add_config, overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser, help='config file, or checkpoint')


def run(args: argparse.Namespace) -> None:
    from geo_mm import env

    env.require()
    from geo_mm.engine.embedded_config import unchecked_config_of
    from geo_mm.engine.launch import load_config, settings_of
    from geo_mm.models.checkpoints import read_checkpoint

    config = args.config
    if config.endswith('.pth'):
        config = unchecked_config_of(read_checkpoint(config), config)
    config = load_config(config, overrides(args.cfg_options), name=args.config)
    print(settings_of(config).pretty_text)
