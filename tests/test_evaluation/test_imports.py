"""The package can be used without torch and the mm libraries."""

import subprocess
import sys


def test_evaluation_imports_neither_torch_nor_mm():
    code = (
        'import sys, geo_mm.evaluation, geo_mm.evaluation.report, geo_mm.evaluation.scenes\n'
        "print(sorted({'torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == '[]'
