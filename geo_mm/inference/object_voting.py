"""Objects of tiles: of one detector or several, as seen or also mirrored and turned."""

from collections.abc import Sequence

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData

from geo_mm.inference.voting import Voters, turned

SAME = 0.55
"""IoU of boxes from which they are taken for the same object, that of the paper below."""


class ObjectVoters(Voters):
    """Detectors that are asked together.

    What the voters (each model in each view) report of one object is fused as
    in weighted boxes fusion (Solovyev et al. 2021, arXiv:1910.13302): boxes are
    averaged and masks voted on, both weighted with the scores.

    Args:
        members: One or more models of the same classes, bands and GSD.
        tta: Key of :data:`geo_mm.inference.voting.VIEWS`.
        merge: Score of an object: ``'mean'`` over all voters, 0 for one that
            does not see it, or the ``'max'``.

    Raises:
        SpecError: If the models do not go together.
    """

    def predict(self, inputs: Sequence[list[dict]]) -> list[DetDataSample]:
        """Fused ``pred_instances`` for a batch of :meth:`load`'s inputs, on the CPU."""
        reports: list[list[InstanceData]] = [[] for _ in inputs]
        for number, member in enumerate(self.members):
            for view in self.views:
                items = [turned(item[number], view) for item in inputs]
                side = items[0]['inputs'].shape[-1]
                for report, found in zip(reports, member.predict(items), strict=True):
                    report.append(_turned_back(found.pred_instances.cpu(), side, view))
        if len(reports[0]) == 1:
            fused = [report[0] for report in reports]
        else:
            fused = [fuse(report, self.merge) for report in reports]
        return [DetDataSample(pred_instances=instances) for instances in fused]


def fuse(reports: Sequence[InstanceData], merge: str = 'mean') -> InstanceData:
    """What several voters say together of one tile.

    Args:
        reports: Of each voter ``bboxes`` ``(N, 4)`` xyxy, ``scores`` ``(N,)``,
            ``labels`` ``(N,)`` and perhaps ``masks`` ``(N, h, w)`` bool.
        merge: ``'mean'`` or ``'max'`` of the scores.

    Returns:
        The same fields, surest objects first.
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
    """Indices of what is reported of each object, at most one of a voter, the surest first."""
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
    """The object that all of a group mean."""
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


def _turned_back(instances: InstanceData, side: int, view: tuple[bool, int]) -> InstanceData:
    """What was found in a view of a square tile, in the tile as it was."""
    mirrored, turns = view
    left, top, right, bottom = instances.bboxes.unbind(1)
    for _ in range(turns):
        left, top, right, bottom = side - bottom, left, side - top, right
    if mirrored:
        left, right = side - right, side - left
    back = InstanceData(
        bboxes=torch.stack([left, top, right, bottom], dim=1),
        scores=instances.scores,
        labels=instances.labels,
    )
    if 'masks' in instances:
        masks = torch.rot90(instances.masks, -turns, (-2, -1))
        back.masks = masks.flip(-1) if mirrored else masks
    return back
