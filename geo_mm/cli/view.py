"""``geo-mm view``."""

import argparse

from geo_mm.options import add_options, given
from geo_mm.viewer.options import ViewOptions


def view_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('scene', help='the image')
    add('result', nargs='?', help='what was predicted: a class raster or a layer')
    add('truth', nargs='?', help='ground truth: a class raster or a layer')
    add_options(parser, ViewOptions)
    add('--no-browser', action='store_true', help='print the address only')


def view(args: argparse.Namespace) -> None:
    """Show a scene with its result and ground truth as a map in the browser.

        geo-mm view town.tif out/town.gpkg houses.gpkg

    The page is served on this machine until Ctrl-C, needs no internet, and takes
    scenes of any size, with any CRS or none.
    """
    import webbrowser

    from geo_mm.viewer import view

    viewer = view(args.scene, args.result, args.truth, **given(args, ViewOptions))
    print(f'{viewer.url}  (Ctrl-C ends it)', flush=True)
    if not args.no_browser:
        webbrowser.open(viewer.url)
    viewer.wait()
