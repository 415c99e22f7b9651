import datetime
import http.server
import json
import threading

import pystac
import pytest
import shapely

from geo_mm.catalog import read_catalog
from geo_mm.catalog.stac_search import StacSearch, search_scenes
from geo_mm.cli import main
from geo_mm.errors import CatalogError, SceneError
from tests.data.rasters import noise, write_raster

CONFORMS = (
    'https://api.stacspec.org/v1.0.0/core',
    'https://api.stacspec.org/v1.0.0/item-search',
)


class Api(http.server.BaseHTTPRequestHandler):
    """A STAC API with one item a page, which it looks up in ``items``."""

    items: tuple[pystac.Item, ...] = ()
    conforms = CONFORMS
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        root = pystac.Catalog('api', 'small').to_dict()
        url = f'http://{self.headers["Host"]}/v1'
        root['conformsTo'] = list(self.conforms)
        root['links'] = [
            {'rel': 'search', 'href': f'{url}/search', 'type': 'application/geo+json', 'method': m}
            for m in ('GET', 'POST')
        ]
        self.answer(root if self.path.rstrip('/') == '/v1' else None)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        box = shapely.box(*asked.get('bbox', (-180, -90, 180, 90)))
        found = [
            item
            for item in self.items
            if item.collection_id in asked.get('collections', [item.collection_id])
            and box.intersects(shapely.geometry.shape(item.geometry))
        ]
        page = asked.get('page', 0)
        url = f'http://{self.headers["Host"]}/v1/search'
        following = {'rel': 'next', 'href': url, 'method': 'POST', 'merge': True}
        links = [{**following, 'body': {'page': page + 1}}] if page + 1 < len(found) else []
        features = [item.to_dict(transform_hrefs=False) for item in found[page : page + 1]]
        self.answer({'type': 'FeatureCollection', 'features': features, 'links': links})

    def answer(self, data):
        body = json.dumps(data).encode()
        self.send_response(404 if data is None else 200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def url(tmp_path, monkeypatch):
    time = datetime.datetime(2024, 6, 1, 10, tzinfo=datetime.timezone.utc)
    items = []
    for name, west, collection in (('a', -81, 'ortho'), ('b', -79, 'ortho'), ('c', -81, 's2')):
        box = shapely.box(west, 36, west + 0.1, 36.2)
        item = pystac.Item(name, shapely.geometry.mapping(box), list(box.bounds), time, {})
        item.collection_id = collection
        for band in ('red', 'nir'):
            path = write_raster(tmp_path / f'{name}_{band}.tif', noise((1, 8, 8)))
            item.add_asset(band, pystac.Asset(path.as_uri(), media_type='image/tiff'))
        items.append(item)
    monkeypatch.setattr(Api, 'items', tuple(items))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Api) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{running.server_port}/v1'
        running.shutdown()


def names(scenes):
    return [scene.name for scene in scenes]


def test_searched_by_collection_and_box_over_several_pages(url):
    assert names(search_scenes(StacSearch(url))) == ['a', 'b', 'c']
    assert names(search_scenes(StacSearch(f'{url}/search', ('ortho',)))) == ['a', 'b']
    assert names(search_scenes(StacSearch(url, bbox=(-82, 35, -80, 37)))) == ['a', 'c']
    assert names(search_scenes(StacSearch(url, max_items=1))) == ['a']


def test_a_catalog_of_what_was_found(url, tmp_path):
    path = tmp_path / 'scenes.parquet'
    where = ['--collections', 'ortho', '--bbox', '-82', '35', '-80', '37']
    main(['catalog', '--stac', url, *where, '--bands', 'nir', 'red', '-o', str(path)])
    [entry] = read_catalog(path)
    assert entry.image == (str(tmp_path / 'a_nir.tif'), str(tmp_path / 'a_red.tif'))
    assert (entry.name, entry.columns['date']) == ('a', '2024-06-01T10:00:00Z')


def test_what_cannot_be_searched(url, monkeypatch):
    with pytest.raises(SceneError, match='no asset blue'):
        search_scenes(StacSearch(url), ['blue'])
    with pytest.raises(CatalogError, match='no item found'):
        search_scenes(StacSearch(url, bbox=(0, 0, 1, 1)))
    with pytest.raises(CatalogError, match='no search possible'):
        search_scenes(StacSearch(f'{url}/elsewhere'))
    with pytest.raises(CatalogError, match='four numbers'):
        search_scenes(StacSearch(url, bbox=(0, 0)))
    with pytest.raises(CatalogError, match='--stac URL'):
        search_scenes(StacSearch(collections=('ortho',)))
    monkeypatch.setattr(Api, 'conforms', CONFORMS[:1])
    with pytest.raises(CatalogError, match='can be searched'):
        search_scenes(StacSearch(url))
