"""Command line: ``python -m geo_mm.synthetic OUT --scenes 4 --size 1024``."""

import argparse
from collections.abc import Sequence

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from geo_mm.errors import report_errors
from geo_mm.synthetic import make_town


def parse_args(args: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m geo_mm.synthetic',
        description='Write synthetic aerial scenes of a town with vector labels.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('out', help='folder to write to')
    parser.add_argument('--scenes', type=int, default=4, help='how many scenes')
    parser.add_argument(
        '--size', type=int, nargs='+', default=[1024], metavar='PIXELS',
        help='side of a scene, or columns and rows',
    )  # fmt: skip
    parser.add_argument('--gsd', type=float, default=0.5, help='pixel size in metres')
    parser.add_argument('--seed', type=int, default=0, help='same seed, same scenes')
    parsed = parser.parse_args(args)
    if len(parsed.size) > 2:
        parser.error('--size takes one or two numbers')
    return parsed


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = parse_args(args)
    size = options.size[0] if len(options.size) == 1 else tuple(options.size)
    columns = (
        TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    with report_errors(), Progress(*columns) as bar:
        task = bar.add_task('synthetic town', total=None)

        def progress(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        try:
            catalog = make_town(
                options.out, scenes=options.scenes, size=size, gsd=options.gsd,
                seed=options.seed, progress=progress,
            )  # fmt: skip
        except ValueError as error:
            raise SystemExit(f'error: {error}') from None
        bar.update(task, description='synthetic town')
    print(f'wrote {catalog}')


if __name__ == '__main__':
    main()
