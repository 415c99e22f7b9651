"""The classes of a model or data set: names, colours, background, ignore value."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from geo_mm.errors import ConfigError

Colour = tuple[int, int, int]

# XML, in which styles are written, cannot hold them.
_CONTROL = re.compile(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]')

IGNORE = 255
"""Class index of pixels without a class: masked, unlabelled or without data."""

# Okabe and Ito's colours, which are distinguishable with any colour vision, then
# further ones from matplotlib's 'tab20'.
_COLOURS: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (120, 120, 120),
    (148, 103, 189),
    (140, 86, 75),
    (188, 189, 34),
    (23, 190, 207),
)


def default_colours(count: int) -> tuple[Colour, ...]:
    """Colours for so many classes; they repeat after the twelfth."""
    return tuple(_COLOURS[i % len(_COLOURS)] for i in range(count))


@dataclass(frozen=True)
class ClassSet:
    """Classes in the order of their indices.

    Attributes:
        names: Class names; the position is the class index.
        colours: ``(r, g, b)`` in 0..255 of each class. Left out, they are
            :func:`default_colours`.
        background: The class of pixels that no object covers, or None.
        ignore: Class index of pixels without a class.

    Raises:
        ConfigError: If a name occurs twice or is no text, there are not as many
            colours as names or one is out of range, or the background is not
            one of the names.
    """

    names: tuple[str, ...]
    colours: tuple[Colour, ...] = ()
    background: str | None = None
    ignore: int = IGNORE

    def __post_init__(self) -> None:
        # A single text would be split into letters.
        names = (self.names,) if isinstance(self.names, str) else tuple(self.names)
        _check_names(names)
        colours = _checked_colours(self.colours or default_colours(len(names)), names)
        object.__setattr__(self, 'names', names)
        object.__setattr__(self, 'colours', colours)
        if self.background is not None and self.background not in names:
            raise ConfigError(
                f'the background class {self.background!r} is not one of {_listed(names)}',
                'one of the classes, or None',
                'correct its name, or add it to the classes',
            )

    @classmethod
    def from_metainfo(cls, metainfo: Mapping, background: str | None = None) -> 'ClassSet':
        """Classes of an mm dataset: its ``classes``, and ``palette`` if it has one.

        Args:
            metainfo: As in a config or of a dataset.
            background: The class of pixels that no object covers.
        """
        return cls(metainfo.get('classes') or (), metainfo.get('palette') or (), background)

    @classmethod
    def from_dict(cls, data: Mapping) -> 'ClassSet':
        """Classes in the record of a model: ``classes``, ``palette``, ``background``.

        Args:
            data: As of :meth:`to_dict`, also after a passage through JSON; other
                keys are ignored. Records before geo_mm 0.2 may name a background
                that is no class: it is left out.
        """
        names, background = tuple(data['classes']), data.get('background')
        return cls(
            names,
            data.get('palette') or (),
            background if background in names else None,
            data.get('ignore', IGNORE),
        )

    def to_dict(self) -> dict:
        """Plain data for JSON, as :meth:`from_dict` takes it."""
        return {
            'classes': list(self.names),
            'palette': [list(colour) for colour in self.colours],
            'background': self.background,
            'ignore': self.ignore,
        }

    def to_metainfo(self) -> dict:
        """``classes`` and ``palette``, as the mm libraries want them."""
        return {'classes': self.names, 'palette': [list(colour) for colour in self.colours]}

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def items(self) -> Iterator[tuple[int, str, Colour]]:
        """Index, name and colour of each class."""
        return zip(range(len(self)), self.names, self.colours, strict=True)

    def index(self, name: str) -> int:
        """The index of a class.

        Raises:
            ConfigError: If there is no such class.
        """
        if name not in self.names:
            raise ConfigError(f'no class {name!r}', f'one of {_listed(self.names)}')
        return self.names.index(name)

    @property
    def background_index(self) -> int | None:
        """The index of the background class, or None if there is none."""
        return None if self.background is None else self.names.index(self.background)

    @property
    def foreground(self) -> tuple[int, ...]:
        """The indices of all classes but the background."""
        return tuple(i for i, name in enumerate(self.names) if name != self.background)

    @property
    def foreground_names(self) -> tuple[str, ...]:
        """The names of all classes but the background."""
        return tuple(self.names[i] for i in self.foreground)


def _check_names(names: Sequence) -> None:
    for name in names:
        if not isinstance(name, str) or not name:
            raise ConfigError(f'{name!r} as the name of a class', 'a text that is not empty')
        if _CONTROL.search(name):
            raise ConfigError(
                f'{name!r} as the name of a class',
                'letters, figures, signs and spaces',
                'remove tabs, line breaks and other control characters',
            )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(
            f'the class {_listed(twice)} occurs more than once in {_listed(names)}',
            'each class once',
            'rename or remove the repetitions',
        )


def _checked_colours(colours: Sequence, names: Sequence[str]) -> tuple[Colour, ...]:
    if len(colours) != len(names):
        raise ConfigError(
            f'{len(colours)} colours for the {len(names)} classes {_listed(names)}',
            'one colour (red, green, blue) for each class, or none at all',
            'correct `palette`, or set it to None for the default colours',
        )
    checked = []
    for colour, name in zip(colours, names, strict=True):
        try:
            red, green, blue = (int(part) for part in colour)
        except (TypeError, ValueError):
            red = green = blue = -1
        if not all(0 <= part <= 255 for part in (red, green, blue)):
            raise ConfigError(
                f'the colour {colour!r} of class {name!r}',
                'three numbers from 0 to 255: red, green, blue',
            )
        checked.append((red, green, blue))
    return tuple(checked)


def _listed(names: Sequence) -> str:
    return ', '.join(map(str, names)) or '(none)'
