"""Opening many scenes: how far it is, and without Python's garbage collector."""

import contextlib
import gc
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from mmengine.dist import is_main_process
from mmengine.logging import print_log

_SECONDS = 5.0
"""Before the first message while scenes are opened; each later one waits twice as long."""

_Item = TypeVar('_Item')


def announced(items: Sequence[_Item], done: str) -> Iterator[_Item]:
    """Scenes one by one; where that takes long, a line of log says how far it is.

    Args:
        items: Something for each scene.
        done: What is done with a scene, as ``opened``.
    """
    start, pause = time.monotonic(), _SECONDS
    due = pause
    for number, item in enumerate(items):
        passed = time.monotonic() - start
        if passed >= due and is_main_process():
            pause *= 2
            due = passed + pause
            print_log(f'{done} {number} of {len(items)} scenes in {passed:.0f} s', logger='current')
        yield item


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """Without Python's garbage collector: it would look through all scenes and labels
    read so far again and again, which stay, and take a third of the time.

    Around loops, and not inside of the generator that they go through: that of a loop
    which an error ends would leave the collector off for as long as its traceback is kept.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
