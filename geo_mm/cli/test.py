"""Score a trained model on the test split of its config.

    geo-mm test work_dirs/roofs/iter_2000.pth

The config is that of the checkpoint, with the changes that it was trained
with; one before it replaces it. Scored are the chips, with the library's
metrics, and with --scenes also whole scenes on the map, as `geo-mm predict`
and `geo-mm evaluate` do it.
"""

import argparse

from geo_mm.cli.arguments import add_launcher, add_overrides, add_trust, overrides
from geo_mm.cli.predict import split_paths
from geo_mm.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = '%(prog)s [CONFIG] CHECKPOINT [options]'
    add = parser.add_argument
    add('paths', nargs='+', metavar='PATH', help='the checkpoint, a config before it')
    add('--work-dir', help='folder for the log and the scores as JSON (default: test/ beside it)')
    add(
        '--scenes',
        metavar='OUT',
        help='also predict the scenes as a whole and score them on the map; folder for the results',
    )
    add('--verbose', action='store_true', help='print the full log, which its file always has')
    add_trust(parser)
    add_overrides(parser)
    add_launcher(parser, 'mpi')


def run(args: argparse.Namespace) -> None:
    config, checkpoints, rest = split_paths(args.paths)
    if len(checkpoints) != 1 or rest:
        raise ConfigError(
            f'geo-mm test {" ".join(args.paths)}', 'one checkpoint', '[CONFIG] CHECKPOINT'
        )
    if args.scenes and args.launcher != 'none':
        raise ConfigError(
            f'--scenes with --launcher {args.launcher}',
            'one process',
            'share the work with tools/dist_predict.sh, then score with geo-mm evaluate',
        )
    from geo_mm import env

    env.require()
    from geo_mm.engine import TestOptions, test

    options = TestOptions(args.work_dir, args.launcher, args.trust_checkpoint)
    runner = test(
        checkpoints[0], config, options, overrides(args.cfg_options), verbose=args.verbose
    )
    if args.scenes:
        _score_scenes(runner, checkpoints[0], args.scenes)


def _score_scenes(runner, checkpoint: str, out: str) -> None:
    """Predict and score the scenes that the chips come from."""
    import os

    from geo_mm.evaluation.report import write_report
    from geo_mm.evaluation.tables import show
    from geo_mm.inference import PredictOptions, Predictor
    from geo_mm.inference.scenes import score_scenes

    # Average precision needs the objects of low confidence, too.
    kept = PredictOptions(score=0.0) if runner.cfg.default_scope == 'mmdet' else None
    predictor = Predictor(checkpoint, runner.cfg, options=kept)
    result = score_scenes(
        runner.test_dataloader.dataset,
        predictor,
        out,
        progress=lambda name: print(f'{name} ...'),
    )
    show(result)
    title = f'{checkpoint} on the test scenes of its config'
    for path in write_report(result, os.path.join(out, 'evaluation'), title=title):
        print(f'  {path}')
