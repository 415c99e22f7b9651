"""Predict scenes of any size with a trained model; results lie on the map.

Pixel models write a GeoTIFF of classes, object models a GeoPackage and a
GeoJSON; both a picture to look at and a JSON file that says what was done.
"""

import argparse
import glob
import sys
from collections import Counter
from pathlib import Path

from geo_mm import env
from geo_mm.errors import GeoMMError, SceneError, report_errors


def parse_args() -> argparse.Namespace:
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config that the model was trained with')
    parser.add_argument('checkpoint', help='.pth file that tools/train.py wrote')
    parser.add_argument('scenes', nargs='+', help='scene files or glob patterns')
    parser.add_argument(
        '--stack', action='store_true', help='the files are bands of one scene, in this order'
    )
    parser.add_argument('-o', '--out', required=True, help='folder for the results')
    parser.add_argument('--tile', type=int, help='side of a tile in pixels (default: 512 or more)')
    parser.add_argument(
        '--overlap', type=int, help='pixels that tiles share (default: a quarter of a tile)'
    )
    parser.add_argument('--batch-size', type=int, default=2, help='tiles per forward pass')
    parser.add_argument('--score', type=float, default=0.3, help='least confidence of an object')
    parser.add_argument(
        '--nodata', type=float, help='value of pixels without data (default: as in training)'
    )
    parser.add_argument('--device', help='torch device (default: first GPU, else CPU)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override settings: key=value'
    )
    return parser.parse_args()


def main() -> None:
    env.require()
    from geo_mm.engine.launch import load_config
    from geo_mm.inference import Predictor

    args = parse_args()
    sources = find_sources(args.scenes)
    scenes = [(sources, None)] if args.stack else named(sources)
    predictor = Predictor(
        load_config(args.config, args.cfg_options),
        args.checkpoint,
        device=args.device,
        tile=args.tile,
        overlap=args.overlap,
        batch_size=args.batch_size,
        score=args.score,
        nodata=args.nodata,
    )
    failed = []
    for source, name in scenes:
        try:
            predict_with_progress(predictor, source, args.out, name)
        except GeoMMError as error:
            if len(scenes) == 1:
                raise
            # The other scenes can do without this one.
            print(f'error: {error}', file=sys.stderr)
            failed.append(source)
    if failed:
        raise GeoMMError(f'{len(failed)} of {len(scenes)} scenes failed: {", ".join(failed)}')


def find_sources(patterns: list[str]) -> list[str]:
    """The scenes that file names and glob patterns mean, each once."""
    sources = []
    for pattern in patterns:
        # '?' and brackets also occur in URLs and in file names.
        is_name = '://' in pattern or pattern.startswith('/vsi') or Path(pattern).exists()
        if is_name or not glob.has_magic(pattern):
            sources.append(pattern)
            continue
        found = sorted(glob.glob(pattern, recursive=True))
        if not found:
            raise SceneError(f'{pattern}: no file matches', fix='correct the pattern')
        sources += found
    return list(dict.fromkeys(sources))


def named(sources: list[str]) -> list[tuple[str, str | None]]:
    """Each scene with a name for its results, where its own is not enough.

    Scenes of the same file name, as in ``2023/rgb.tif`` and ``2024/rgb.tif``,
    are told apart by their folders: ``2023_rgb`` and ``2024_rgb``.
    """
    paths = [Path(source.split('?')[0]).absolute() for source in sources]
    stems = Counter(path.stem for path in paths)
    return [
        (source, None if stems[path.stem] == 1 else f'{path.parent.name}_{path.stem}')
        for source, path in zip(sources, paths, strict=True)
    ]


def predict_with_progress(
    predictor, source: str | list[str], folder: str, name: str | None
) -> None:
    """Predicts one scene under a progress bar and says what came out."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn('tiles'),
        TimeElapsedColumn(),
        TextColumn('left'),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        first = source if isinstance(source, str) else source[0]
        task = bar.add_task(Path(first).name, total=None)
        result = predictor.predict(
            source,
            folder,
            name=name,
            progress=lambda done, total: bar.update(task, advance=done, total=total),
        )
    console = Console()
    unit = 'pixels' if predictor.model.spec.task == 'pixels' else 'objects'
    counts = ', '.join(f'{name} {count:,}' for name, count in result.counts.items())
    console.print(f'  {unit}: {counts}', highlight=False)
    for path in result.files:
        console.print(f'  {path}', highlight=False, soft_wrap=True)


if __name__ == '__main__':
    with report_errors():
        main()
