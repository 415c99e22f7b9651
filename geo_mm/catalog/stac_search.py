"""Searching a STAC API for scenes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geo_mm.errors import CatalogError
from geo_mm.options import option

if TYPE_CHECKING:  # `geo-mm catalog --help` waits for what is imported here
    from geo_mm.formats.stac_scenes import ItemScene

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StacSearch:
    """What is searched for, and where."""

    url: str | None = option(
        None, 'address of a STAC API that is searched', flag='--stac', group='search', metavar='URL'
    )
    collections: tuple[str, ...] = option((), 'of these collections', group='search')
    bbox: tuple[float, ...] = option(
        (),
        'that meet this box: west south east north, in degrees',
        group='search',
        metavar='DEGREES',
    )
    datetime: str | None = option(
        None,
        'taken at this time, such as 2024-06, or between two: 2024-05-01/2024-08-31',
        group='search',
        metavar='TIME',
    )
    max_items: int = option(100, 'take the first of them', group='search', metavar='NUMBER')

    def check(self) -> None:
        """Raises CatalogError if the search makes no sense."""
        if self.url is None:
            raise CatalogError('a search without an address', '--stac URL')
        if self.bbox and len(self.bbox) != 4:
            raise CatalogError(
                f'--bbox {" ".join(map(str, self.bbox))}', 'four numbers: west south east north'
            )


def search_scenes(search: StacSearch, assets: Sequence[str] | None = None) -> 'list[ItemScene]':
    """The scenes that a STAC API finds; their images stay where they are.

    Args:
        search: What is searched for, and where.
        assets: Keys of the assets that are the image files, in this order; by default
            those of the role ``data``.

    Raises:
        CatalogError: If pystac-client is missing, the API does not answer or finds
            nothing.
        SceneError: If an item has no image, or not these assets.
    """
    search.check()
    from geo_mm.formats.stac_scenes import item_scene

    items = _items(search)
    if not items:
        raise CatalogError(
            f'{search.url}: no item found',
            'items in this place and time',
            'give a larger --bbox, a longer --datetime, or other --collections',
        )
    return [item_scene(item, item['id'], assets) for item in items]


def _items(search: StacSearch) -> list[dict]:
    try:
        from pystac_client import Client
    except ImportError as error:
        raise CatalogError(
            f'searching a STAC API needs pystac-client: {error}',
            'pystac-client in the environment',
            "pip install 'geo_mm[stac]'",
        ) from error
    url = str(search.url).rstrip('/').removesuffix('/search')
    try:
        found = Client.open(url).search(
            collections=list(search.collections) or None,
            bbox=list(search.bbox) or None,
            datetime=search.datetime,
            max_items=search.max_items,
        )
        items = list(found.items())
        for item in items:
            item.make_asset_hrefs_absolute()  # relative ones start from the item's address
    except _failures() as error:
        raise CatalogError(
            f'{url}: no search possible: {str(error).strip() or type(error).__name__}',
            'the address of a STAC API that can be searched',
            'open the address in a browser: it shows JSON with "stac_version" and "conformsTo"',
        ) from error
    if len(items) == search.max_items:
        logger.warning('%s: the first %d items; more with --max-items', url, len(items))
    return [item.to_dict(include_self_link=False, transform_hrefs=False) for item in items]


def _failures() -> tuple[type[Exception], ...]:
    """What pystac-client raises if an address is none, or what it answers makes no sense."""
    from pystac import STACError
    from pystac_client.exceptions import APIError
    from pystac_client.warnings import DoesNotConformTo
    from requests.exceptions import RequestException

    return APIError, DoesNotConformTo, RequestException, STACError, ValueError, KeyError
