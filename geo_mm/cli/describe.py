"""``geo-mm describe``."""

import argparse


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        'path',
        metavar='FILE',
        help='model: .pth, .safetensors, .onnx or .pt2, .emd or .dlpk of ArcGIS, or the work dir '
        'of a training; or what a prediction wrote: raster, layer or .json; or an image, or the '
        'folder of a training set',
    )
    add(
        '--image',
        action='append',
        metavar='[ROLE=]FILE',
        help='a file of a scene to compare with what the model needs; once for each file',
    )
    add('--json', action='store_true', help='print the facts as JSON alone')


def describe(args: argparse.Namespace) -> int:
    """Say what a model needs and gives, or what an image, a result or a training set is.

        geo-mm describe model.pth --image city.tif
        geo-mm describe city.tif

    With an image, say whether it suits the model; the exit status is 1 if it does not.
    """
    import json
    import os

    from rich.console import Console

    from geo_mm.deploy.description import ModelDescription, describe
    from geo_mm.raster.stack import files_of_roles

    image = args.image
    if image and '=' in image[0] and not os.path.exists(image[0]):
        image = files_of_roles(image)
    found = describe(args.path, image)
    misfits = isinstance(found, ModelDescription) and bool(found.misfits)
    if args.json:
        print(json.dumps(found.to_dict(), sort_keys=True))
        return int(misfits)
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    for title, lines in found.sections():
        console.print(title, style='bold')
        for line in lines:
            console.print(f'  {line}')
    return int(misfits)
