"""Score a trained model on the test split of its config.

Scored are the chips, with the library's metrics, and with --scenes also whole
scenes on the map, as tools/predict.py and tools/evaluate.py do it.
"""

import argparse
import os

from geo_mm import env
from geo_mm.errors import ConfigError, report_errors


def parse_args() -> argparse.Namespace:
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='folder for the log and the scores as JSON')
    parser.add_argument(
        '--scenes',
        metavar='OUT',
        help='also predict the scenes as a whole and score them on the map; folder for the results',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value, dotted keys, no white space',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.scenes and args.launcher != 'none':
        raise ConfigError(
            f'--scenes with --launcher {args.launcher}',
            'one process',
            'share the work with tools/dist_predict.sh, then score with tools/evaluate.py',
        )
    return args


def main() -> None:
    env.require()
    from geo_mm.engine import launch
    from geo_mm.engine.checkpoints import check_weights

    args = parse_args()
    config = launch.load_config(args.config, args.cfg_options)
    launch.set_work_dir(config, args.work_dir, args.config)
    config.load_from = args.checkpoint
    with launch.explained_config_errors():
        runner = launch.build_runner(config, args.launcher)
        check_weights(runner.model, args.checkpoint)
        runner.test()
    if args.scenes:
        test_scenes(runner.test_dataloader.dataset, args, config)


def test_scenes(dataset, args: argparse.Namespace, config) -> None:
    """Predicts and scores the scenes that the chips come from."""
    from geo_mm.evaluation.report import write_report
    from geo_mm.evaluation.tables import show
    from geo_mm.inference import Predictor
    from geo_mm.inference.scene_scores import score_scenes

    # Average precision needs the objects of low confidence, too.
    kept = {'score': 0.0} if config.default_scope == 'mmdet' else {}
    predictor = Predictor(args.checkpoint, config, **kept)
    result = score_scenes(
        dataset, predictor, args.scenes, progress=lambda name: print(f'{name} ...')
    )
    show(result)
    title = f'{args.checkpoint} on the test scenes of {args.config}'
    for path in write_report(result, os.path.join(args.scenes, 'evaluation'), title=title):
        print(f'  {path}')


if __name__ == '__main__':
    with report_errors():
        main()
