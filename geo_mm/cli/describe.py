"""``geo-mm describe``."""

import argparse


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('output', help='file that a prediction wrote: raster, layer or .json')
    parser.add_argument('--json', action='store_true', help='print the provenance as JSON alone')


def describe(args: argparse.Namespace) -> None:
    """Say what a result is, how it was made, and the command that makes it again."""
    from rich.console import Console

    from geo_mm.formats.description import describe
    from geo_mm.formats.provenance import read_provenance

    if args.json:
        print(read_provenance(args.output).to_json())
        return
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    for title, lines in describe(args.output).sections():
        console.print(title, style='bold')
        for line in lines:
            console.print(f'  {line}')
