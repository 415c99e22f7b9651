import subprocess
import sys
import threading

import pyogrio

from geo_mm.gdal import without_side_files

OPTION = 'GDAL_PAM_ENABLED'


def test_the_users_value_is_put_back():
    pyogrio.set_gdal_config_options({OPTION: True})
    try:
        with without_side_files():
            assert pyogrio.get_gdal_config_option(OPTION) is False
        assert pyogrio.get_gdal_config_option(OPTION) is True
    finally:
        pyogrio.set_gdal_config_options({OPTION: None})


def test_calls_that_overlap_leave_nothing_behind():
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with without_side_files():
            inside.set()
            leave.wait()

    before = pyogrio.get_gdal_config_option(OPTION)
    thread = threading.Thread(target=other)
    with without_side_files():
        thread.start()
        inside.wait()
    assert pyogrio.get_gdal_config_option(OPTION) is False
    leave.set()
    thread.join()
    assert pyogrio.get_gdal_config_option(OPTION) == before


def test_an_import_changes_neither_gdal_nor_warnings():
    code = (
        'import warnings, torch, mmdet.apis, mmseg.apis\n'
        'before = list(warnings.filters)\n'
        'import geo_mm.labels, geo_mm.formats, geo_mm.engine.launch, geo_mm.inference.predictor\n'
        'import pyogrio, sys\n'
        'ours = [one for one in warnings.filters if one not in before]\n'
        'print(pyogrio.get_gdal_config_option("GDAL_PAM_ENABLED"), ours)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == 'None []', done.stdout + done.stderr
