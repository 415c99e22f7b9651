"""``geo-mm status``."""

import argparse


def status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', metavar='OUT', help='folder of the results, as given with -o')
    parser.add_argument(
        '--staging',
        metavar='FOLDER',
        help='of results in an object store: as given to `geo-mm predict`',
    )
    parser.add_argument('--json', action='store_true', help='print the facts as JSON')


def status(args: argparse.Namespace) -> None:
    """Say how far the predictions into a folder are: scenes, tiles, time left, failures.

        geo-mm status out

    Only the files in the folder are asked, on whatever machine, and at any time.
    """
    import json

    from geo_mm.inference.status import prediction_status

    found = prediction_status(args.folder, args.staging)
    print(json.dumps(found.to_dict()) if args.json else found)
