"""Write synthetic aerial scenes of a town with vector labels.

geo-mm synthetic data/town --scenes 6 --size 1024
"""

import argparse

from geo_mm.errors import GeoMMError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('out', help='folder to write to')
    add('--scenes', type=int, default=4, help='how many scenes (default: 4)')
    add(
        '--size',
        type=int,
        nargs='+',
        default=[1024],
        metavar='PIXELS',
        help='side of a scene, or columns and rows (default: 1024)',
    )
    add('--gsd', type=float, default=0.5, help='pixel size in metres (default: 0.5)')
    add('--seed', type=int, default=0, help='same seed, same scenes (default: 0)')


def run(args: argparse.Namespace) -> None:
    if len(args.size) > 2:
        raise GeoMMError(f'--size {" ".join(map(str, args.size))}', 'one or two numbers')
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from geo_mm.synthetic import make_town

    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task('synthetic town', total=None)

        def progress(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        try:
            catalog = make_town(
                args.out,
                scenes=args.scenes,
                size=args.size[0] if len(args.size) == 1 else tuple(args.size),
                gsd=args.gsd,
                seed=args.seed,
                progress=progress,
            )
        except ValueError as error:
            raise GeoMMError(str(error)) from None
        bar.update(task, description='synthetic town')
    print(f'wrote {catalog}')
