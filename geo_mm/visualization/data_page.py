"""Pages about data: what the doctor found, with maps, and the statistics that it rests on."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import shapely
import shapely.affinity
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image, ImageDraw

from geo_mm.catalog.audit import AuditedScene
from geo_mm.data_checks.diagnosis import Diagnosis
from geo_mm.data_checks.examined import DataSet, ExaminedScene
from geo_mm.data_checks.findings import Finding, Places, sentence
from geo_mm.data_checks.statistics import DataStatistics
from geo_mm.data_checks.summary import SceneSummary, counts_of
from geo_mm.errors import GeoMMError
from geo_mm.formats import html_page
from geo_mm.paths import make_folder, write_text
from geo_mm.raster import Window
from geo_mm.raster.rgb import to_rgb
from geo_mm.visualization.audit_map import split_map
from geo_mm.visualization.figures import stacked

_STYLE = """
.findings { list-style: none; padding: 0; }
.finding { border-left: .35rem solid; padding: .1rem 0 .1rem 1rem; margin: 1.5rem 0; }
.error { border-color: #b00050; } .warning { border-color: #b36b00; }
.note { border-color: #5a6a77; }
.finding h2 { margin: 0 0 .3rem; } .finding p { margin: .3rem 0; }
.severity { font-size: .75rem; letter-spacing: .05em; text-transform: uppercase; color: #fff;
            padding: .1rem .5rem; margin-right: .6rem; border-radius: .2rem; vertical-align: .1em; }
.error .severity { background: #b00050; } .warning .severity { background: #8f5600; }
.note .severity { background: #5a6a77; }
.where { color: #54616c; } .finding p, .finding h2 { overflow-wrap: anywhere; }
.finding figure { max-width: 44rem; }
"""
_SIDE = 900  # pixels of a map
_PICTURES = 24  # of a page
_FOUND, _LABEL, _MOVED = (255, 0, 200), (255, 210, 0), (0, 220, 255)
_COLOURS = ('#0072b2', '#e69f00', '#009e73', '#cc79a7', '#d55e00', '#56b4e9')


def write_doctor_page(diagnosis: Diagnosis, path: str | os.PathLike) -> Path:
    """Write the findings with maps, and plots of the data.

    Args:
        diagnosis: Of :func:`geo_mm.doctor`.
        path: A ``.html`` file, or a folder for ``doctor.html``.

    Raises:
        OutputError: If it cannot be written.
    """
    source = os.path.basename(os.path.abspath(diagnosis.data.source)) or diagnosis.data.source
    parts = [
        f'<h1>Data of {html_page.text(source)}</h1>',
        f'<p>{html_page.text(diagnosis.summary())}.</p>',
    ]
    if not diagnosis.findings:
        parts.append('<p>Nothing was found that is wrong.</p>')
    pictures = 0
    parts.append('<ul class="findings">')
    for finding in diagnosis.findings:
        picture = ''
        if finding.places is not None and len(finding.places.boxes) and pictures < _PICTURES:
            picture = _picture(diagnosis.data, finding.places)
            pictures += bool(picture)
        parts.append(_item(finding, picture))
    parts += ['</ul>', *data_parts(diagnosis.scenes, diagnosis.data)]
    page = html_page.page(f'Data of {source}', parts, 'Examined', _STYLE)
    return write_text(_file(path, 'doctor.html'), page)


def write_statistics_page(found: DataStatistics, path: str | os.PathLike) -> Path:
    """Write statistics as tables and plots.

    Args:
        found: Of :func:`geo_mm.data_checks.statistics.data_statistics`.
        path: A ``.html`` file, or a folder for ``statistics.html``.

    Raises:
        OutputError: If it cannot be written.
    """
    source = os.path.basename(os.path.abspath(found.data.source))
    bands = found.bands
    columns = ('band', 'mean', 'std', 'min', '2 %', '98 %', 'max')
    values = zip(bands.mean, bands.std, bands.min, bands.p2, bands.p98, bands.max, strict=True)
    rows = [
        html_page.row(name, [f'{v:.5g}' for v in own])
        for name, own in zip(bands.names, values, strict=True)
    ]
    title = f'Statistics of {source}'
    parts = [
        f'<h1>{html_page.text(title)}</h1>',
        html_page.table(f'{bands.count:,} valid pixels to learn from', columns, rows),
    ]
    if any(scene.counts for scene in found.scenes):
        splits = [split.name for split in found.data.splits]
        counts = {split: counts_of(found.scenes, split) for split in splits}
        names = dict.fromkeys(name for own in counts.values() for name in own)
        rows = [
            html_page.row(n, [f'{counts[split].get(n, 0):,}' for split in splits]) for n in names
        ]
        parts.append(html_page.table('Labels of each class', ('class', *splits), rows))
    for unit in ('pixels', 'metres'):
        if len(sides := found.sizes(unit)):
            percent = (1, 5, 25, 50, 75, 95, 99)
            row = html_page.row(unit, [f'{v:.4g}' for v in np.percentile(sides, percent)])
            heads = ('side of objects', *(f'{p} %' for p in percent))
            parts.append(html_page.table(f'Object sizes in {unit}', heads, [row]))
    parts += data_parts(found.scenes, found.data)
    return write_text(_file(path, 'statistics.html'), html_page.page(title, parts, 'Made', _STYLE))


def _file(path: str | os.PathLike, name: str) -> Path:
    path = Path(path)
    if path.suffix.lower() in ('.html', '.htm'):
        make_folder(path.parent)
        return path
    return make_folder(path) / name


def _item(finding: Finding, picture: str) -> str:
    text = html_page.text
    head = f'<span class="severity">{finding.severity}</span>{text(finding.check)}'
    lines = [f'<h2>{head}</h2>', f'<p class="where">{text(finding.where)}</p>']
    lines += [
        f'<p>{text(sentence(finding.found))} {text(sentence(finding.why))}</p>',
        f'<p><b>To do:</b> {text(finding.fix.rstrip("."))}.</p>',
    ]
    if finding.places is not None and finding.places.lonlat is not None:
        west, south, east, north = finding.places.lonlat
        place = f'Longitude {west:.5f} to {east:.5f}, latitude {south:.5f} to {north:.5f}.'
        lines.append(f'<p class="where">{place}</p>')
    return f'<li class="finding {finding.severity}">{"".join(lines)}{picture}</li>'


def _picture(data: DataSet, places: Places) -> str:
    """The scene, or the part of it with the places, and its labels."""
    for split in data.splits:
        for entry in split.entries:
            scene = ExaminedScene.open(entry, split)
            if scene.name == places.scene and scene.whole is not None:
                return _drawn(scene, places)
    return ''


def _drawn(scene: ExaminedScene, places: Places) -> str:
    assert scene.whole is not None
    whole = scene.whole
    window = _part(places.boxes, whole.width, whole.height)
    try:
        data, valid, _ = whole.crop(window).read_overview(_SIDE)
    except GeoMMError:
        return ''
    image = Image.fromarray(to_rgb(data, valid, whole.band_names))
    scale = image.width / window.width
    if scale > 1 or image.width < 300:  # small parts are enlarged
        factor = max(min(600 // image.width, 8), 1)
        image = image.resize(
            (image.width * factor, image.height * factor), Image.Resampling.NEAREST
        )
        scale *= factor

    def placed(xy: np.ndarray) -> np.ndarray:
        return (xy - (window.col_off, window.row_off)) * scale

    draw = ImageDraw.Draw(image)
    shapes = _outlines(scene)
    for shape in shapes:
        _draw_shape(draw, shapely.transform(shape, placed), _LABEL)
        if places.shift is not None:
            moved = shapely.affinity.translate(shape, *places.shift)
            _draw_shape(draw, shapely.transform(moved, placed), _MOVED)
    if places.shift is None:
        for left, top, right, bottom in places.boxes:
            corners = placed(np.array([[left, top], [right, bottom]]))
            _draw_box(draw, corners, image.size)
    caption = f'{scene.name}, {window.width} x {window.height} pixels from column '
    caption += f'{window.col_off}, row {window.row_off}. '
    caption += 'Yellow: labels. ' if len(shapes) else ''
    caption += (
        'Cyan: labels where they agree best with edges.'
        if places.shift is not None
        else 'Magenta: what was found, and pixels without data.'
    )
    return html_page.figure(image, caption, photo=True)


def _part(boxes: np.ndarray, width: int, height: int) -> Window:
    """The places with something around them; at least a 256th of the scene's longer side."""
    left, top = np.maximum(boxes[:, :2].min(axis=0), 0)
    right, bottom = np.minimum(boxes[:, 2:].max(axis=0), (width, height))
    margin = max(0.25 * max(right - left, bottom - top), max(width, height) / 256, 16)
    window = Window(
        int(max(left - margin, 0)),
        int(max(top - margin, 0)),
        int(right - left + 2 * margin),
        int(bottom - top + 2 * margin),
    ).intersection(Window(0, 0, width, height))
    return window if window.area else Window(0, 0, width, height)


def _outlines(scene: ExaminedScene) -> np.ndarray:
    """Labels in pixels of the whole file."""
    objects = scene.objects
    if objects is None or scene.scene is None or scene.whole is None:
        return np.empty(0, object)
    relative = ~scene.whole.transform @ scene.scene.transform
    return shapely.transform(
        objects.geometries[:20_000], lambda xy: np.stack(relative @ tuple(xy.T), axis=1)
    )


def _draw_shape(draw: ImageDraw.ImageDraw, shape: shapely.Polygon, colour: tuple) -> None:
    draw.line([tuple(point) for point in shape.exterior.coords], fill=colour, width=2)


def _draw_box(draw: ImageDraw.ImageDraw, corners: np.ndarray, size: tuple[int, int]) -> None:
    middle, half = corners.mean(axis=0), np.maximum(np.ptp(corners, axis=0) / 2 + 2, 5)
    low = np.clip(middle - half, 0, np.array(size) - 1)
    high = np.clip(middle + half, 0, np.array(size) - 1)
    draw.rectangle((*low, *high), outline=_FOUND, width=3)


def data_parts(scenes: Sequence[SceneSummary], data: DataSet) -> list[str]:
    """What the data are like, as parts of a page."""
    return [html_page.plot(*each) for each in data_figures(scenes, data)]


def draw_statistics(found: DataStatistics) -> Image.Image:
    """Draws what data are like: the plots of :func:`write_statistics_page` below each other."""
    return stacked([figure for _, _, figure in data_figures(found.scenes, found.data)])


def data_figures(
    scenes: Sequence[SceneSummary], data: DataSet
) -> Iterator[tuple[str, str, Figure]]:
    """Titles, captions and plots of bands, classes, sizes of objects, and where the scenes are."""
    if not scenes:
        return
    learnt = [scene for scene in scenes if scene.split in ('train', 'all')] or list(scenes)
    of_bands = [scene for scene in learnt if scene.bands == learnt[0].bands]
    if any(scene.sample.shape[1] for scene in of_bands):
        caption = 'Values of the bands in a sample of valid pixels'
        if data.mean is not None and len(data.mean) == len(of_bands[0].bands):
            caption += '; dotted: the mean that the config subtracts'
        yield 'Bands', f'{caption}.', _bands_figure(of_bands, data)
    counts = {split.name: counts_of(scenes, split.name) for split in data.splits}
    if any(sum(own.values()) for own in counts.values()):
        objects = any(len(scene.numbers) for scene in scenes)
        unit = 'Objects' if objects else 'Sampled pixels'
        yield 'Classes', f'{unit} of each class, by split.', _classes_figure(counts)
    if any(len(scene.pixels) for scene in scenes):
        caption = (
            'Square root of the area of each object’s box, in pixels as trained and in metres.'
        )
        yield 'Object sizes', caption, _sizes_figure(scenes, data)
    if any(scene.audited.ground.outline is not None for scene in scenes):
        caption = 'Where the scenes are: outlines of valid pixels.'
        places: dict[str, list[AuditedScene]] = {}
        for scene in scenes:
            places.setdefault(scene.split, []).append(scene.audited)
        yield 'Map of scenes', caption, split_map(places)


def _figure(panels: int, height: float = 2.6) -> tuple[Figure, list[Axes]]:
    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(3.0 * columns, height * rows), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for each in axes[panels:]:
        each.set_axis_off()
    for each in axes[:panels]:
        each.spines[['top', 'right']].set_visible(False)
    return figure, list(axes[:panels])


def _bands_figure(scenes: Sequence[SceneSummary], data: DataSet) -> Figure:
    pixels = np.concatenate([scene.sample for scene in scenes], axis=1)
    names = scenes[0].bands[:15]
    figure, axes = _figure(len(names), 1.9)
    for i, (name, axis) in enumerate(zip(names, axes, strict=True)):
        low, high = np.percentile(pixels[i], (0, 99.9)) if pixels.dtype != np.uint8 else (0, 255)
        axis.hist(pixels[i], bins=64, range=(low, max(high, low + 1e-9)), color=_COLOURS[0])
        if data.mean is not None and len(data.mean) == len(scenes[0].bands):
            axis.axvline(data.mean[i], color='#222222', linestyle=':')
        axis.set_title(name, fontsize=10)
        axis.set_yticks([])
    return figure


def _classes_figure(counts: dict[str, dict[str, int]]) -> Figure:
    names = list(dict.fromkeys(name for own in counts.values() for name in own))[:30]
    figure = Figure(
        figsize=(8, 0.8 + 0.28 * len(names) * max(len(counts), 1)), layout='constrained'
    )
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    thick = 0.8 / len(counts)
    for number, (split, own) in enumerate(counts.items()):
        values = [own.get(name, 0) for name in names]
        place = np.arange(len(names)) + (number - (len(counts) - 1) / 2) * thick
        bars = axis.barh(place, values, thick, color=_COLOURS[number % 6], label=split)
        axis.bar_label(bars, [f'{value:,}' for value in values], padding=3, fontsize=9)
    axis.set_yticks(np.arange(len(names)), names)
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.spines[['top', 'right']].set_visible(False)
    if len(counts) > 1:
        axis.legend(frameon=False)
    return figure


def _sizes_figure(scenes: Sequence[SceneSummary], data: DataSet) -> Figure:
    pixels = np.concatenate([np.sqrt(scene.pixels.prod(axis=1)) for scene in scenes])
    metres = [np.sqrt(s.metres.prod(axis=1)) for s in scenes if s.metres is not None]
    panels: list[tuple[str, np.ndarray]] = [('pixels', pixels)]
    if metres and sum(map(len, metres)):
        panels.append(('metres', np.concatenate(metres)))
    figure, axes = _figure(len(panels), 2.8)
    for (unit, values), axis in zip(panels, axes, strict=True):
        values = np.maximum(values, 1e-3)
        low, high = np.percentile(values, (0.5, 99.5))
        bins = np.geomspace(low, max(high, low * 1.5), 32)
        axis.hist(np.clip(values, bins[0], bins[-1]), bins=bins.tolist(), color=_COLOURS[2])
        axis.set_xscale('log')
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter('{x:g}')
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(f'{unit} (median {np.median(values):.3g})')
        axis.set_ylabel('objects')
    axes[0].axvline(
        data.splits[0].chip_size, color='#222222', linestyle=':', label='side of a chip'
    )
    # Above the panel, where there is nothing that it could cover.
    axes[0].legend(
        frameon=False, fontsize=8, loc='lower right', bbox_to_anchor=(1, 1), borderaxespad=0
    )
    return figure
