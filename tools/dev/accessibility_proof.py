"""What axe-core says of the pages that geo_mm writes, and of the viewer, wide and narrow.

Each page is opened in headless Chromium, in windows of 1280 and 400 pixels, with all that
is folded on it unfolded. The viewer is looked at once as it opens and once used: border
moved, an object chosen, a class switched off, a least confidence set. Printed are faults
by impact, rules that a person has to judge, messages on the console, requests to
elsewhere, and whether the page scrolls sideways; the pictures in OUT are for looking at.
The exit status is 1 if there is more than what a person has to judge.

    npm install --prefix axe axe-core
    python tools/dev/accessibility_proof.py axe/node_modules/axe-core/axe.min.js OUT \\
        --pages report.html training.html --view SCENE RESULT TRUTH
"""

import argparse
import base64
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from geo_mm.viewer import view
from tests.test_viewer.browser import Browser

SIZES = ((1280, 900), (400, 800))
READY = '!!window.viewer && !waiting.size'
UNFOLD = 'document.querySelectorAll("details").forEach((each) => { each.open = true; })'
# As by hand: a key on the border, then every control that this result has.
USE = """(() => {
  const $ = (name) => document.querySelector(name);
  const is = (name, value) => { $(name).value = value; $(name).dispatchEvent(new Event('input')); };
  const key = new KeyboardEvent('keydown', { key: 'ArrowLeft' });
  for (let time = 0; time < 8; time++) $('#swipe').dispatchEvent(key);
  $('#list button')?.click();
  $('#classes label + label input')?.click();
  is('#opacity', 0.9);
  is('#least', 0.4);
})()"""
AUDIT = """axe.run().then(({ violations, incomplete }) => [violations, incomplete].map(
  (found) => found.map(({ id, impact, help, nodes }) => [
    impact, id, help, nodes.map((node) => `${node.target.join(' ')}: ${node.html}`)])))"""


def audit(browser: Browser, axe: str, width: int, own: str, picture: Path) -> int:
    """Prints what is wrong with the page as it is now; returns how much that is."""
    browser.ask(f'{axe};0')
    wrong, unsure = browser.ask(AUDIT)
    for impact, rule, meaning, nodes in wrong:
        print(f'  {impact} {rule}: {meaning} ({len(nodes)})')
        print(*(f'    {node[:160]}' for node in nodes[:4]), sep='\n')
    for _, rule, meaning, nodes in unsure:
        print(f'  to judge: {rule}: {meaning} ({len(nodes)}), as {nodes[0][:120]}')
    faults = [f'console: {problem["params"]}' for problem in browser.problems()]
    faults += [f'request to {host}' for host in browser.hosts() - {own}]
    if (used := browser.ask('document.documentElement.scrollWidth')) > width:
        faults.append(f'scrolls sideways: {used} pixels')
    print(*(f'  {fault}' for fault in faults), sep='\n', end='\n' if faults else '')
    # Of the whole page; such pictures lack the scrollbars of its parts.
    shot = browser.call('Page.captureScreenshot', captureBeyondViewport=True)
    picture.write_bytes(base64.b64decode(shot['data']))
    return len(wrong) + len(faults)


def states(browser: Browser, is_view: bool) -> Iterator[str]:
    """Brings the page into each state to be looked at."""
    if not is_view:
        browser.wait('document.readyState == "complete"')
        browser.ask(UNFOLD)
        yield 'page'
        return
    browser.wait(READY)
    yield 'opened'
    browser.ask(USE)
    browser.call('Input.dispatchMouseEvent', type='mouseMoved', x=100, y=200)
    browser.wait('new Promise((done) => setTimeout(() => done(true), 1000))')
    browser.wait(READY)
    yield 'used'


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('axe', type=Path, help='axe.min.js')
    parser.add_argument('out', type=Path, help='folder for pictures')
    parser.add_argument('--pages', type=Path, nargs='*', default=[], help='HTML files')
    parser.add_argument(
        '--view', nargs='+', action='append', default=[], metavar='FILE', help='a scene to view'
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    axe, faults = args.axe.read_text(encoding='utf-8'), 0
    with contextlib.ExitStack() as stack:
        targets = [(each.stem, each.resolve().as_uri(), False) for each in args.pages]
        for number, files in enumerate(args.view, 1):
            targets.append((f'view_{number}', stack.enter_context(view(*files)).url, True))
        for name, url, is_view in targets:
            for width, height in SIZES:
                with Browser(url, width, height) as browser:
                    for state in states(browser, is_view):
                        print(f'{name} {state}, {width} pixels')
                        picture = args.out / f'{name}_{state}_{width}.png'
                        faults += audit(browser, axe, width, urlsplit(url).netloc, picture)
    print(f'{faults} faults')
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
