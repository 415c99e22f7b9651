"""The class of true features that have no attribute for it."""

from collections.abc import Iterable, Sequence

from geo_mm.errors import LabelError


def only_class(truth: str, columns: Sequence[str], classes: Iterable[str], fix: str) -> str:
    """The one class that all features of a truth are of, if only one is in question.

    Args:
        truth: Name of the layer.
        columns: Its attributes.
        classes: Those of the prediction.
        fix: What the user can do otherwise.

    Raises:
        LabelError: If the prediction has several classes, or none.
    """
    classes = list(classes)
    if len(classes) == 1:
        return classes[0]
    listed = ', '.join(classes)
    raise LabelError(
        f"{truth}: has no column 'class', so the class of its features is unknown; the prediction "
        + (f'has the classes {listed}' if classes else 'has no class but the background'),
        f'a column with the class (found: {list(columns)}), or a prediction of one class',
        fix,
    )


def said_so(truth: str, name: str) -> str:
    """The note that belongs to it."""
    return f'All features of {truth} are taken as class {name!r}.'
