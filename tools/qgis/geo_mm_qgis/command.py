"""Runs the command geo-mm in its own Python environment, with progress and cancelling."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading

from qgis.core import QgsProcessingException, QgsSettings

KEY = 'geo_mm/python'
_FOREIGN = ('PYTHONHOME', 'PYTHONPATH', 'PROJ_LIB', 'PROJ_DATA', 'GDAL_DATA', 'GDAL_DRIVER_PATH')
"""What QGIS sets for itself, and would mislead another Python."""

_CONTROL = re.compile(r'\x1b\[[0-9;?]*[A-Za-z]')
_DONE = re.compile(r'(?:Iter\(train\) *\[ *(\d+)/ *(\d+)\]|(\d+)/(\d+) tiles)')
_PATIENCE = 60  # seconds that a run has to save its work when it is cancelled


def choose(python):
    """Keep the path of a Python, if geo_mm runs in it.

    Returns:
        The version of geo_mm.

    Raises:
        QgsProcessingException: If it does not.
    """
    try:
        done = subprocess.run(
            [python, '-m', 'geo_mm.cli', '--version'],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise QgsProcessingException(f'{python} does not run: {error}') from error
    if done.returncode:
        raise QgsProcessingException(
            f'geo_mm is not installed in {python}: {done.stdout.strip().splitlines()[-1:]}'
        )
    QgsSettings().setValue(KEY, python)
    return done.stdout.strip()


def run(words, feedback, accepted=(0,)):
    """Run ``geo-mm WORDS`` to its end, or until the user cancels it.

    Args:
        words: Subcommand and arguments.
        feedback: Of the algorithm.
        accepted: Exit statuses of success.

    Returns:
        The lines that it printed.

    Raises:
        QgsProcessingException: If it fails or is cancelled, or no Python is chosen.
    """
    python = QgsSettings().value(KEY, '')
    if not python:
        raise QgsProcessingException(
            'No Python environment is chosen. Run the algorithm "Choose the Python of geo_mm".'
        )
    feedback.pushCommandInfo(' '.join(['geo-mm', *words]))
    process = subprocess.Popen(
        [python, '-u', '-m', 'geo_mm.cli', *words],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        creationflags=subprocess.CREATE_NEW_PROCESS_GROUP if sys.platform == 'win32' else 0,
    )
    lines = []
    for line in _lines(process, feedback):
        for match in _DONE.finditer(line):
            done, total = (int(text) for text in match.groups() if text)
            feedback.setProgress(100 * done / max(1, total))
        if line and not _is_bar(line):
            lines.append(line)
            feedback.pushInfo(line)
    status = process.wait()
    if feedback.isCanceled():
        raise QgsProcessingException('cancelled; run it again to resume where it stopped')
    if status not in accepted:
        reason = [number for number, line in enumerate(lines) if line.startswith('error: ')]
        text = '\n'.join(lines[reason[-1] :] if reason else lines[-8:])
        raise QgsProcessingException(text or f'geo-mm ended with status {status}')
    return lines


def _environment():
    env = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    # Progress bars are drawn only for what claims to be a terminal.
    return {**env, 'PYTHONIOENCODING': 'utf-8', 'FORCE_COLOR': '1', 'COLUMNS': '200'}


def _is_bar(line):
    return ' tiles' in line and '\u2501' in line


def _lines(process, feedback):
    """Lines as they come, without control codes; stops the process if that is wanted."""
    chunks = queue.Queue()

    def read():
        for chunk in iter(lambda: os.read(process.stdout.fileno(), 1 << 16), b''):
            chunks.put(chunk)
        chunks.put(None)

    threading.Thread(target=read, daemon=True).start()
    rest, asked = '', False
    while True:
        if feedback.isCanceled() and not asked:
            asked = True
            _stop(process)
        try:
            chunk = chunks.get(timeout=0.2)
        except queue.Empty:
            continue
        if chunk is None:
            break
        text = _CONTROL.sub('', rest + chunk.decode('utf-8', 'replace'))
        *complete, rest = re.split(r'[\r\n]+', text)
        for line in complete:
            yield line.rstrip()
    yield rest.rstrip()


def _stop(process):
    """Ask it to end, as with Ctrl-C: training saves a checkpoint, prediction its rows."""
    process.send_signal(signal.CTRL_BREAK_EVENT if sys.platform == 'win32' else signal.SIGTERM)
    timer = threading.Timer(_PATIENCE, process.kill)
    timer.daemon = True
    timer.start()
