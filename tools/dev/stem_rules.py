"""Compares the rules by which pretrained filters are made for other bands.

Small networks learn all bands of Sentinel-2 scenes (water: sen1floods11, land cover:
TerraMesh; their western halves), get a stem for other bands, and are scored on the
eastern halves: as they are, and with a new last layer trained on frozen features.

    python tools/dev/stem_rules.py DATA

where DATA holds ``sen1floods11`` and ``terramesh_a``. Takes some 10 minutes of a core.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
from torch import nn

from geo_mm.models.adaptation import adapt_stem

S2 = ('B1', 'B2', 'B3', 'B4', 'B5', 'B6', 'B7', 'B8', 'B8A', 'B9', 'B10', 'B11', 'B12')
RGB = ('B4', 'B3', 'B2')
TARGETS: Mapping[str, tuple[tuple[str, ...] | None, Sequence[tuple[str, ...] | None], Sequence]] = {
    'all bands of Sentinel-2': (
        None,
        [(*RGB, 'B8'), ('B2', 'B3', 'B4', 'B8A', 'B11', 'B12')],
        [dict(lost='spread'), dict(lost='scale'), None],
    ),
    'RGB': (
        RGB,
        [(*RGB, 'B8'), None],
        [*(dict(missing=rule) for rule in ('mean', 'nearest', 'zero', 'random')), None],
    ),
}
"""From which bands, to which, by which rules; None for all bands, and for repeated filters."""

WIDTH, SIDE = 16, 32


class Network(nn.Module):
    """Four convolutions that tell classes of pixels."""

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(bands, WIDTH, 3, padding=1, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(WIDTH), nn.ReLU()]
        for reach in (1, 2):
            layers.append(nn.Conv2d(WIDTH, WIDTH, 3, padding=reach, dilation=reach, bias=False))
            layers += [nn.BatchNorm2d(WIDTH), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.stem(x)))


@dataclass
class Scenes:
    """Scenes with classes, normalised; the western halves are for training.

    Attributes:
        images: ``(bands, height, width)`` each.
        labels: ``(height, width)`` each, -1 where unknown.
        bands: Names.
    """

    images: list[torch.Tensor]
    labels: list[torch.Tensor]
    bands: tuple[str, ...]

    @classmethod
    def read(cls, images: Sequence[Path], labels: Sequence[Path]) -> 'Scenes':
        pixels = [rasterio.open(path).read().astype('float32') for path in images]
        every = np.concatenate([image.reshape(len(image), -1) for image in pixels], axis=1)
        mean, std = every.mean(1)[:, None, None], every.std(1)[:, None, None]
        values = [rasterio.open(path).read(1).astype(int) for path in labels]
        known = [v for v in np.unique(np.concatenate([v.ravel() for v in values])) if v >= 0]
        index = {value: number for number, value in enumerate(known)}
        numbers = [np.vectorize(lambda v: index.get(v, -1))(value) for value in values]
        bands = S2 if len(pixels[0]) == 13 else tuple(name for name in S2 if name != 'B10')
        normal = [torch.from_numpy((image - mean) / (std + 1e-6)) for image in pixels]
        return cls(normal, [torch.from_numpy(number) for number in numbers], bands)

    @property
    def classes(self) -> int:
        return max(int(label.max()) for label in self.labels) + 1

    def chips(
        self, count: int, bands: Sequence[str], east: bool, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Random chips ``(count, bands, side, side)`` and their classes."""
        where = [self.bands.index(band) for band in bands]
        images, labels = [], []
        for _ in range(count):
            scene = int(torch.randint(len(self.images), (1,), generator=generator))
            height, width = self.labels[scene].shape
            first = width // 2 + 8 if east else 0
            last = (width if east else width // 2) - SIDE
            top = int(torch.randint(height - SIDE, (1,), generator=generator))
            left = first + int(torch.randint(last - first, (1,), generator=generator))
            cut = slice(top, top + SIDE), slice(left, left + SIDE)
            images.append(self.images[scene][(where, *cut)])
            labels.append(self.labels[scene][cut])
        return torch.stack(images), torch.stack(labels)


def train(
    network: Network, part: nn.Module, scenes: Scenes, bands: Sequence[str], seed: int
) -> None:
    """Trains a part of a network; the whole with batch norm, a part without."""
    generator = torch.Generator().manual_seed(seed)
    whole = part is network
    optimiser = torch.optim.AdamW(part.parameters(), 2e-3)
    network.train(whole)
    for _ in range(160 if whole else 60):
        images, labels = scenes.chips(8, bands, False, generator)
        loss = nn.functional.cross_entropy(network(images), labels, ignore_index=-1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()


@torch.no_grad()
def score(network: Network, scenes: Scenes, bands: Sequence[str]) -> float:
    """Mean IoU in percent on eastern halves."""
    images, labels = scenes.chips(60, bands, True, torch.Generator().manual_seed(99))
    found = network(images).argmax(1)
    ious = []
    for number in range(scenes.classes):
        ours, theirs = (each.eq(number) & (labels >= 0) for each in (found, labels))
        if theirs.any():
            ious.append(((ours & theirs).sum() / (ours | theirs).sum()).item())
    return 100 * float(np.mean(ious))


def with_stem(
    source: Network, theirs: Sequence[str], ours: Sequence[str], rule: Mapping[str, str] | None
) -> Network:
    """The network for our bands; None repeats filters and divides, as is usual for RGB."""
    weight = source.stem.weight.detach()
    if rule is None:
        repeated = weight[:, [i % len(theirs) for i in range(len(ours))]]
        stem = repeated * len(theirs) / len(ours)
    else:
        stem, _ = adapt_stem(weight, list(theirs), list(ours), **rule)
    network = Network(len(ours), source.head.out_channels)
    network.load_state_dict({**source.state_dict(), 'stem.weight': stem})
    return network.eval()


def compare(name: str, scenes: Scenes, seeds: int) -> None:
    for what, (given, targets, rules) in TARGETS.items():
        theirs = given or scenes.bands
        scores: dict[str, list[float]] = {}
        for seed in range(seeds):
            torch.manual_seed(seed)
            source = Network(len(theirs), scenes.classes)
            train(source, source, scenes, theirs, seed)
            scores.setdefault('  as trained', []).append(score(source, scenes, theirs))
            for ours in (target or scenes.bands for target in targets):
                for rule in rules:
                    network = with_stem(source, theirs, ours, rule)
                    label = f'  to {len(ours)} by ' + ', '.join((rule or {'': 'repeat'}).values())
                    scores.setdefault(f'{label}, as it is', []).append(score(network, scenes, ours))
                    torch.manual_seed(seed)
                    network.head = nn.Conv2d(WIDTH, scenes.classes, 1)
                    train(network, network.head, scenes, ours, seed + 50)
                    scores.setdefault(f'{label}, new last layer', []).append(
                        score(network, scenes, ours)
                    )
        print(f'{name}, from {what}')
        for label, values in scores.items():
            print(f'{label:<36}{np.mean(values):5.1f} +- {np.std(values):.1f}', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('data', type=Path)
    parser.add_argument('--seeds', type=int, default=3)
    args = parser.parse_args()
    floods, mesh = args.data / 'sen1floods11', args.data / 'terramesh_a'
    water = Scenes.read(sorted(floods.glob('*S2Hand.tif')), sorted(floods.glob('*LabelHand.tif')))
    compare('water', water, args.seeds)
    cover = Scenes.read(sorted(mesh.glob('S2L2A/*.tif')), sorted(mesh.glob('LULC/*.tif')))
    compare('land cover', cover, args.seeds)


if __name__ == '__main__':
    main()
