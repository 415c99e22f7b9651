"""Pages on narrow screens."""

import pytest

from geo_mm.formats import html_page
from tests.test_viewer.browser import Browser, chromium


@pytest.mark.skipif(chromium() is None, reason='there is no Chromium')
def test_wide_tables_show_on_a_phone_that_they_go_on(tmp_path):
    name = 'residential building with a flat roof'
    row = html_page.row(name, [0.25] * 12)
    table = html_page.table('Scores', ['class', *map(str, range(12))], [row])
    path = tmp_path / 'page.html'
    path.write_text(html_page.page('Scores', [table], 'Made'), encoding='utf-8')
    with Browser(path.as_uri(), 400) as page:
        page.wait('document.readyState == "complete"')
        assert page.ask('document.documentElement.scrollWidth') == 400
        bar = 'box = document.querySelector(".scroll"); box.offsetHeight - box.clientHeight'
        assert page.ask(bar) > 0  # its scrollbar
        # A long name leaves room for numbers.
        right = 'document.querySelectorAll("td")[1].getBoundingClientRect().right'
        assert page.ask(right) < 400
        assert page.problems() == []
