"""Tests a config in this process and writes the scores: run by test_metric.py, also on 2 ranks."""

import json
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_rank

from geo_mm.engine.launch import build_runner


def scores_of(config: Path) -> dict[str, float]:
    torch.set_num_threads(1)
    config = Config.fromfile(config)
    return build_runner(config, config.launcher).test()


if __name__ == '__main__':
    scores = scores_of(Path(sys.argv[1]))
    if get_rank() == 0:
        Path(sys.argv[2]).write_text(json.dumps(scores))
