import pytest
import torch
from mmengine.hooks import Hook

from geo_mm.engine import launch
from geo_mm.engine.checkpoints import read_checkpoint
from geo_mm.errors import ConfigError
from tests.data.chips import CONFIGS, fresh_mmengine, run_tool, write_scene, write_seg_config

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason='a GPU takes float16')


class Types(Hook):
    """Notes types of numbers on the way through the model."""

    def before_train(self, runner) -> None:
        self.losses, self.features = [], set()

        def note(module, inputs, outputs) -> None:
            if module.training:
                self.features.add(outputs[0].dtype)

        runner.model.backbone.register_forward_hook(note)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(outputs['loss'].item())


@on_cpu
def test_three_iterations_in_bfloat16_on_a_cpu(tmp_path):
    write_scene(tmp_path)
    config = launch.load_config(write_seg_config(tmp_path), {'train_cfg.max_iters': 3})
    config.work_dir = str(tmp_path / 'work')
    launch.use_amp(config)
    with fresh_mmengine():
        runner = launch.build_runner(config)
        types = Types()
        runner.register_hook(types)
        runner.train()
    assert len(types.losses) == 3 and all(0 < loss < 10 for loss in types.losses)
    assert types.features == {torch.bfloat16}
    weights = read_checkpoint(tmp_path / 'work' / 'iter_3.pth')['state_dict']
    assert {value.dtype for value in weights.values()} == {torch.float32, torch.int64}


@on_cpu
def test_the_tool_trains_and_resumes_with_amp(tmp_path):
    write_scene(tmp_path)
    config = write_seg_config(tmp_path, 'default_hooks = dict(checkpoint=dict(interval=1))\n')
    work = tmp_path / 'work'
    run_tool('train.py', config, '--work-dir', work, '--amp')
    (work / 'iter_2.pth').unlink()
    run_tool('train.py', config, '--work-dir', work, '--amp', '--resume', work / 'iter_1.pth')
    assert (work / 'iter_2.pth').is_file()


@on_cpu
def test_two_stage_detectors_say_that_they_cannot():
    name = 'faster-rcnn_r18-c128_fpn_adamw-2k_town-256x256.py'
    config = launch.load_config(CONFIGS / 'faster_rcnn' / name)
    with pytest.raises(ConfigError, match=r'(?s)--amp for FasterRCNN on a CPU.*leave --amp out'):
        launch.use_amp(config)
