"""Objects of a tile that several detectors or views report, fused to one of each."""

from collections.abc import Sequence

import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData

SAME = 0.55
"""IoU of boxes from which they are taken for the same object, that of the paper."""


def fuse(reports: Sequence[InstanceData], merge: str = 'mean') -> InstanceData:
    """Fuses what several models, each in one or several views, report of one tile.

    As in weighted boxes fusion (Solovyev et al. 2021, arXiv:1910.13302), boxes
    are averaged and masks decided by majority, both weighted with the scores.
    With ``'mean'`` the score of an object is that over all reports, 0 for one
    without it.

    Args:
        reports: Of each model and view ``bboxes`` ``(N, 4)`` xyxy, ``scores`` ``(N,)``,
            ``labels`` ``(N,)`` and perhaps ``masks`` ``(N, h, w)`` bool.
        merge: ``'mean'`` or ``'max'`` of the scores.

    Returns:
        The same fields, by decreasing confidence.
    """
    everything = InstanceData.cat(list(reports))
    voters = torch.cat([torch.full((len(part),), n) for n, part in enumerate(reports)])
    order = everything.scores.argsort(descending=True, stable=True)
    everything, voters = everything[order], voters[order]
    groups = _groups(everything, voters)
    fused = [_one(everything[group], len(reports), merge) for group in groups]
    if not fused:
        return everything
    found = InstanceData.cat(fused)
    return found[found.scores.argsort(descending=True, stable=True)]


def _groups(instances: InstanceData, voters: torch.Tensor) -> list[torch.Tensor]:
    """Indices of what is reported of each object, at most one per model and view, by confidence."""
    same = bbox_overlaps(instances.bboxes, instances.bboxes)
    same[instances.labels[:, None] != instances.labels] = 0
    free = torch.ones(len(voters), dtype=torch.bool)
    groups = []
    for first in range(len(voters)):
        if not free[first]:
            continue
        near = torch.where(free & (voters != voters[first]), same[first], 0)
        # Of each voter the nearest: sorted by IoU, the first of each.
        near_first = near.argsort(descending=True, stable=True)[: int((near >= SAME).sum())]
        chosen: dict[int, int] = {int(voters[first]): first}
        for index in near_first.tolist():
            chosen.setdefault(int(voters[index]), index)
        group = torch.tensor(list(chosen.values()))
        free[group] = False
        groups.append(group)
    return groups


def _one(group: InstanceData, voters: int, merge: str) -> InstanceData:
    """The object of a group of detections."""
    weights = group.scores / group.scores.sum().clamp(min=torch.finfo(torch.float32).tiny)
    score = group.scores.sum() / voters if merge == 'mean' else group.scores.max()
    fused = InstanceData(
        bboxes=(weights[:, None] * group.bboxes).sum(0, keepdim=True),
        scores=score[None],
        labels=group.labels[:1],
    )
    if 'masks' in group:
        share = torch.einsum('n,nhw->hw', weights, group.masks.to(weights.dtype))
        fused.masks = (share >= 0.5)[None]
    return fused


def turned_back(
    instances: InstanceData, size: tuple[int, int], view: tuple[bool, int]
) -> InstanceData:
    """What was found in a view of a tile, in the tile as it was.

    Args:
        instances: What was found.
        size: ``(height, width)`` of the view in pixels.
        view: Whether the tile was mirrored left to right, and then how many
            quarter turns it was given.
    """
    mirrored, turns = view
    height, width = size
    left, top, right, bottom = instances.bboxes.unbind(1)
    for _ in range(turns):
        left, top, right, bottom = height - bottom, left, height - top, right
        height, width = width, height
    if mirrored:
        left, right = width - right, width - left
    back = InstanceData(
        bboxes=torch.stack([left, top, right, bottom], dim=1),
        scores=instances.scores,
        labels=instances.labels,
    )
    if 'masks' in instances:
        masks = torch.rot90(instances.masks, -turns, (-2, -1))
        back.masks = masks.flip(-1) if mirrored else masks
    return back
