"""Score a trained model on the test split of its config."""

import argparse
import os

from geo_mm import env
from geo_mm.errors import report_errors


def parse_args() -> argparse.Namespace:
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='folder for the log and the scores as JSON')
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


if __name__ == '__main__':
    with report_errors():
        main()
