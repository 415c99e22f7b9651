"""``geo-mm export``."""

import argparse

from geo_mm import env
from geo_mm.cli.arguments import add_overrides, add_trust, overrides
from geo_mm.cli.predict import MODEL
from geo_mm.deploy.options import FORMATS, ModelExportOptions
from geo_mm.options import add_options, given
from geo_mm.work_dirs import model_file


def export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = 'formats:\n' + '\n'.join(
        f'  {name:12} {each.text}' for name, each in FORMATS.items()
    )
    add = parser.add_argument
    add('checkpoint', help=MODEL)
    add('-o', '--out', required=True, help='folder to write to')
    add('--config', help='config that replaces the one in the checkpoint')
    add_trust(parser)
    add_overrides(parser)
    add_options(parser, ModelExportOptions)


def export(args: argparse.Namespace) -> None:
    """Write a trained model in the formats of other programs.

    geo-mm export work_dirs/roofs --to onnx deepness -o roofs
    """
    env.require()
    from rich.console import Console

    from geo_mm.deploy import export_model
    from geo_mm.engine import config_for

    checkpoint, config = model_file(args.checkpoint), None
    if args.config is not None or args.cfg_options:
        config = config_for(
            checkpoint, args.config, overrides(args.cfg_options), trust=args.trust_checkpoint
        )
    options = ModelExportOptions(**given(args, ModelExportOptions))
    with Console(stderr=True).status(f'writing {", ".join(options.formats)}'):
        written = export_model(
            checkpoint,
            args.out,
            config=config,
            options=options,
            trust_checkpoint=args.trust_checkpoint,
        )
    for path in written:
        print(f'wrote {path}')
