"""Print versions and devices, and what is wrong with this installation, if anything."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    from geo_mm import env

    return env.report()
