import re

import pytest

from tests.data.chips import run_tool, write_scene, write_seg_config


def test_a_finished_run_is_not_made_longer_by_resuming(tmp_path, capsys):
    """Its learning rate has come to an end, which would go unnoticed."""
    write_scene(tmp_path)
    cosine = "param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False)]"
    config, work = write_seg_config(tmp_path, cosine), tmp_path / 'work'
    run_tool('train.py', config, '--work-dir', work)
    capsys.readouterr()
    run_tool('train.py', config, '--work-dir', work, '--resume')
    told = capsys.readouterr()
    assert 'the run is complete: all 2 iterations are done' in told.out + told.err
    with pytest.raises(SystemExit) as ended:
        run_tool(
            'train.py', config, '--work-dir', work, '--resume',
            '--cfg-options', 'train_cfg.max_iters=9',
        )  # fmt: skip
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert re.search(r'checkpoint runs .*to 2, that of the config .*to 9', message), message
    assert 'load_from' in message
