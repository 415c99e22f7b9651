"""The scenes that a command line names, and the share of them that one machine takes."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from geo_mm.catalog import read_catalog
from geo_mm.catalog.tables import SUFFIXES as TABLES
from geo_mm.errors import ConfigError, SceneError
from geo_mm.formats.stac_scenes import SUFFIXES as ITEMS
from geo_mm.formats.stac_scenes import read_item_scenes
from geo_mm.inference.area import SceneToPredict
from geo_mm.paths import file_name, same_file_name
from geo_mm.stores import is_pattern, matching


def find_scenes(
    given: Sequence[str], *, stack: bool = False, split: str | None = None
) -> list[SceneToPredict]:
    """The scenes that a command line names, each once.

    Args:
        given: Files, patterns, URLs; catalog tables (``.csv``, ``.gpkg``,
            ``.geojson``); STAC items (``.json``, ``.geojson``), whose image
            assets with the role ``data`` (or all, if none has it) make one
            scene.
        stack: The files are bands of one scene, in this order.
        split: Of catalogs: only the scenes of this split.

    Raises:
        SceneError: If a pattern has no match, an item no images, or the results
            of two scenes would have the same names.
        CatalogError: If a catalog cannot be read.
    """
    sources = _matched(given)
    if stack:
        return [SceneToPredict(tuple(sources))]
    scenes = [scene for source in sources for scene in _scenes(source, split)]
    named = _named(list({repr(scene): scene for scene in scenes}.values()))  # each once
    check_names(named)
    return named


def shard(scenes: Sequence[SceneToPredict], part: str) -> list[SceneToPredict]:
    """Those scenes of a list that one of several independent runs predicts.

    Which run gets a scene depends on the name of its results alone. So each
    scene is in exactly one shard, also where the list has grown between the
    starts of two runs, and whatever its order. Shards are not of quite the same
    size: of those with 100 scenes on average, some have 85 and some 115.

    Args:
        scenes: All scenes.
        part: ``'I/N'``: which, from 0 to N - 1, of how many.

    Raises:
        ConfigError: If that is not what ``part`` says.
    """
    number, _, count = part.partition('/')
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise ConfigError(
            f'the shard {part!r}',
            'I/N, with I from 0 to N - 1, such as 0/4, 1/4, 2/4 and 3/4',
            'start a job array at 0: sbatch --array=0-3 ... --shard $SLURM_ARRAY_TASK_ID/4',
        )
    return [scene for scene in scenes if _hashed(scene) % int(count) == int(number)]


def _hashed(scene: SceneToPredict) -> int:
    return int(hashlib.sha256(file_name(scene.stem).encode()).hexdigest()[:16], 16)


def _matched(patterns: Sequence[str]) -> list[str]:
    sources = []
    for pattern in patterns:
        if not is_pattern(pattern):
            sources.append(pattern)
            continue
        found = matching(pattern)
        if not found:
            raise SceneError(f'{pattern}: no file matches', fix='correct the pattern')
        sources += found
    return list(dict.fromkeys(sources))


def _scenes(source: str, split: str | None) -> list[SceneToPredict]:
    suffix = Path(source).suffix.lower()
    if suffix in ITEMS and (items := read_item_scenes(source)) is not None:
        return [
            SceneToPredict(item.files if len(item.files) > 1 else item.files[0], item.name)
            for item in items
        ]
    if suffix in TABLES:
        return [
            SceneToPredict(entry.image, entry.name, aoi=entry.aoi)
            for entry in read_catalog(source, split=split)
        ]
    return [SceneToPredict(source)]


def _named(scenes: list[SceneToPredict]) -> list[SceneToPredict]:
    """Names for scenes of the same file name, as in ``2023/rgb.tif`` and ``2024/rgb.tif``.

    They are distinguished by their folders: ``2023_rgb`` and ``2024_rgb``.
    """
    times = Counter(scene.stem for scene in scenes)
    return [
        scene if times[scene.stem] == 1 else replace(scene, name=f'{scene.folder}_{scene.stem}')
        for scene in scenes
    ]


def check_names(scenes: Sequence[SceneToPredict]) -> None:
    """Raises SceneError if the results of two scenes would have the same names."""
    if (same := same_file_name([scene.stem for scene in scenes])) is not None:
        first, second = (scenes[number] for number in same)
        raise SceneError(
            f'the results of {first} and {second} would both be called {file_name(second.stem)}',
            'names that differ in more than case and signs that file names cannot have',
            'predict them into two folders, or name them in the column `name` of a catalog',
        )
