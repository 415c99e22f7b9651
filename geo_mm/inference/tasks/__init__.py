"""What differs between kinds of models: how tiles become results, and which there are."""

from geo_mm.inference.tasks.detection import Detection
from geo_mm.inference.tasks.segmentation import Segmentation
from geo_mm.inference.tasks.task import Task
from geo_mm.inputspec import InputSpec

TASKS: dict[str, type[Task]] = {'pixels': Segmentation, 'objects': Detection}
"""By the task of an :class:`InputSpec`."""


def task_of(spec: InputSpec) -> type[Task]:
    """The kind of task that a model is for."""
    return TASKS[spec.task]


__all__ = ['TASKS', 'Detection', 'Segmentation', 'Task', 'task_of']
