"""Draw the pictures of docs/en/gallery.md, from a synthetic town and a short training.

A model that FOLDER has from an earlier call is not trained again. Pages are drawn
by Chromium.
"""

import argparse
import shutil
import subprocess
from pathlib import Path

from PIL import Image

from geo_mm.errors import GeoMMError, report_errors

SCENE = 'town/images/town_3.tif'  # the test scene
LABELS = 'town/labels/town_3.gpkg'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path, help='data, models and results')
    parser.add_argument('-o', '--out', type=Path, default=Path('docs/assets/gallery'))
    parser.add_argument('--iterations', type=int, default=300)
    return parser.parse_args()


def main() -> None:
    import geo_mm
    from geo_mm.cli import main as run_command
    from geo_mm.visualization.chips import browse_chips

    args = parse_args()
    folder, out = args.folder, args.out
    out.mkdir(parents=True, exist_ok=True)
    catalog = folder / 'town/catalog.csv'
    if not catalog.is_file():
        geo_mm.make_town(folder / 'town', scenes=4, size=1024)
    pixels = geo_mm.prepare_data(
        catalog, class_column='class', size='small', batch_size=4, work_dir=folder / 'pixels'
    )
    buildings = geo_mm.prepare_data(
        catalog,
        class_column='class',
        class_mapping={'building': 'building'},
        size='small',
        batch_size=4,
        work_dir=folder / 'buildings',
    )
    save(browse_chips(pixels.config('unet'), 'train', 6, 3), out / 'batch_classes.jpg')
    save(buildings.show_batch(6), out / 'batch_objects.jpg')
    unet = trained(geo_mm.UNet, pixels, folder / 'unet.pth', args.iterations)
    save(unet.show_results(split='test', number=2), out / 'results.jpg')
    result = folder / 'map'
    unet.predict(folder / SCENE, result, polygons=True, min_area=20, regularise=('building',))
    save(Image.open(result / 'town_3_quicklook.png'), out / 'map.jpg', 860)
    report = unet.report(folder / 'report.html')
    save(screenshot(report.resolve().as_uri(), 1100, 1400), out / 'report.jpg')
    buildings_only = ['--classes', 'building', '--image', str(folder / SCENE)]
    files = [str(result / 'town_3.gpkg'), str(folder / LABELS), '-o', str(folder / 'evaluation')]
    run_command(['evaluate', *files, *buildings_only])
    page = folder / 'evaluation/report.html'
    save(screenshot(page.resolve().as_uri(), 1100, 1400), out / 'evaluation.jpg')
    with geo_mm.view(folder / SCENE, result / 'town_3.tif', folder / LABELS) as viewer:
        save(screenshot(viewer.url, 1280, 800), out / 'viewer.jpg')


def trained(algorithm, data, path: Path, iterations: int):
    """The model in a file, trained first if it is not there."""
    if not path.is_file():
        model = algorithm(data)
        model.fit(iters=iterations, lr=3e-3)
        model.save(path)
    return algorithm.from_model(path)


def screenshot(url: str, width: int, height: int) -> Image.Image:
    """A page as Chromium shows it."""
    names = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
    browser = next((path for name in names if (path := shutil.which(name))), None)
    if browser is None:
        raise GeoMMError('no Chromium on this machine', f'one of {", ".join(names)}')
    picture = Path('screenshot.png').resolve()
    subprocess.run(
        [
            *(browser, '--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars'),
            *(f'--window-size={width},{height}', '--virtual-time-budget=20000'),
            *(f'--screenshot={picture}', url),
        ],
        check=True,
        capture_output=True,
    )
    with Image.open(picture) as shown:
        shown.load()
    picture.unlink()
    return shown


def save(picture: Image.Image, path: Path, width: int = 1100) -> None:
    """As JPEG, no wider than a page."""
    if picture.width > width:
        height = round(picture.height * width / picture.width)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    picture.convert('RGB').save(path, quality=82)
    print(f'{path}: {picture.width} x {picture.height} pixels, {path.stat().st_size // 1000} kB')


if __name__ == '__main__':
    with report_errors():
        main()
