"""Print a config with its bases merged and its overrides applied."""

import argparse

from mmengine.config import DictAction

from geo_mm.engine.launch import load_config
from geo_mm.errors import report_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value overrides')
    args = parser.parse_args()
    print(load_config(args.config, args.cfg_options).pretty_text)


if __name__ == '__main__':
    with report_errors():
        main()
