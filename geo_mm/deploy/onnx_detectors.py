"""Detectors as ONNX can hold them: decoded boxes, the best of them, without duplicates.

All images of a batch go through the same operations side by side; an object that is
none has a confidence of :data:`NONE`. The steps and their order are those of MMDetection's
``predict_by_feat`` of each head, which the tests hold them against.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmcv.ops import nms, roi_align
from mmcv.ops.point_sample import point_sample, rel_roi_point_to_abs_img_point
from mmdet.models import (
    AnchorHead,
    CascadeRoIHead,
    FCOSHead,
    SingleStageDetector,
    StandardRoIHead,
    TwoStageDetector,
    YOLOV3Head,
)
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.onnx.operators import shape_as_tensor

from geo_mm.deploy.onnx_graphs import Graph
from geo_mm.errors import ConfigError
from geo_mm.inference.model import TrainedModel
from geo_mm.inference.tasks.detection import most_objects

NONE = -1.0
"""Confidence of what fills the places of objects that there are not."""

Features = Sequence[Tensor]
"""``(batch, channels, height, width)`` of each level."""


class Objects(NamedTuple):
    """Candidates, or objects, of each image of a batch.

    Attributes:
        boxes: ``(batch, N, 4)``, left, top, right, bottom in pixels.
        scores: ``(batch, N)``.
        labels: ``(batch, N)``: class, or any other kind within which duplicates are sought.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    @classmethod
    def cat(cls, parts: Sequence['Objects']) -> 'Objects':
        return cls(*(torch.cat(values, dim=1) for values in zip(*parts, strict=True)))

    def best(self, count: int) -> 'Objects':
        """The ``count`` with the highest scores, filled up if there are fewer."""
        scores, index = F.pad(self.scores, (0, count), value=NONE).topk(count)
        boxes = F.pad(self.boxes, (0, 0, 0, count))
        labels = F.pad(self.labels, (0, count))
        corners = index[..., None].expand(-1, -1, 4)
        return Objects(boxes.gather(1, corners), scores, labels.gather(1, index))

    def in_image(self, image: Tensor, least: float = -1.0) -> 'Objects':
        """Clipped to an image; those are none whose sides are not longer than ``least`` pixels."""
        height, width = image.shape[2:]
        limits = torch.stack(
            [torch.as_tensor(side, dtype=torch.float32) for side in (width, height)]
        )
        boxes = torch.minimum(self.boxes.clamp(min=0), limits.repeat(2))
        if least < 0:
            return self._replace(boxes=boxes)
        large = ((boxes[..., 2:] - boxes[..., :2]) > least).all(dim=-1)
        return Objects(boxes, _where(large, self.scores), self.labels)

    def without_duplicates(self, kinds: int, iou: float) -> 'Objects':
        """Of those of one kind that overlap more than ``iou``, the best alone.

        Args:
            kinds: Number of ``labels``.
            iou: Intersection over union.
        """
        kind = torch.arange(kinds)[:, None]
        scores = _where(self.labels[:, None] == kind, self.scores[:, None])
        kept = _Suppression.apply(self.boxes, scores, iou)
        chosen = torch.zeros_like(self.scores)
        chosen = chosen.index_put((kept[:, 0], kept[:, 2]), torch.ones_like(kept[:, 0]).float())
        return self._replace(scores=_where(chosen > 0, self.scores))


def _where(kept: Tensor, scores: Tensor) -> Tensor:
    return torch.where(kept, scores, torch.full_like(scores, NONE))


class _Suppression(torch.autograd.Function):
    """Non-maximum suppression, which ONNX has an operator for.

    Takes ``boxes`` ``(batch, N, 4)`` and ``scores`` ``(batch, classes, N)``; what has
    :data:`NONE` is left out. Gives ``(kept, 3)``: image, class and number of each that stays.
    """

    @staticmethod
    def forward(ctx: Any, boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
        kept = []
        for image, kinds in enumerate(scores):
            for kind, values in enumerate(kinds):
                valid = (values > NONE / 2).nonzero()[:, 0]
                chosen = valid[nms(boxes[image][valid], values[valid], iou)[1]]
                place = torch.tensor([image, kind]).expand(len(chosen), 2)
                kept.append(torch.cat([place, chosen[:, None]], dim=1))
        return torch.cat(kept)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, iou: float) -> Any:
        most, least = 2**31 - 1, NONE / 2
        limits = [torch.tensor([most]), torch.tensor([iou]), torch.tensor([least])]
        constants = [g.op('Constant', value_t=value) for value in limits]
        return g.op('NonMaxSuppression', boxes, scores, *constants)


class _RoIAlign(torch.autograd.Function):
    """mmcv's ``roi_align``, whose own way into ONNX is wrong from opset 13 on (mmcv 2.3)."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, rois: Tensor, layer: Any) -> Tensor:
        size, scale = layer.output_size, layer.spatial_scale
        return roi_align(features, rois, size, scale, layer.sampling_ratio, 'avg', layer.aligned)

    @staticmethod
    def symbolic(g: Any, features: Any, rois: Any, layer: Any) -> Any:
        column = g.op('Constant', value_t=torch.tensor(0))
        images = g.op('Gather', rois, column, axis_i=1)
        images = g.op('Cast', images, to_i=7)  # int64
        corners = g.op('Constant', value_t=torch.arange(1, 5))
        return g.op(
            'RoiAlign',
            features,
            g.op('Gather', rois, corners, axis_i=1),
            images,
            coordinate_transformation_mode_s='half_pixel' if layer.aligned else 'output_half_pixel',
            output_height_i=layer.output_size[0],
            output_width_i=layer.output_size[1],
            sampling_ratio_i=layer.sampling_ratio,
            spatial_scale_f=layer.spatial_scale,
        )


class DetectorGraph(Graph):
    """Detection: ``detections`` ``(batch, 4 + classes, N)``, and perhaps ``masks``.

    Of each object the middle, width and height of the box in pixels and the confidence
    of each class, which is 0 for all but its own: the layout of the YOLO versions from 8 on.
    The best come first; what has no confidence fills the rest. ``masks`` ``(objects, h, w)``
    are the probabilities in the cells of the boxes, for the objects with a confidence,
    image after image.

    Args:
        model: The trained model; it is copied.
        most: Objects of an image, if that is less than the model's own limit.

    Raises:
        ConfigError: If it has parts that cannot be exported.
    """

    def __init__(self, model: TrainedModel, most: int | None = None) -> None:
        super().__init__(model)
        self._name = model.checkpoint
        self.classes = len(model.spec.classes)
        network = self.network
        if isinstance(network, TwoStageDetector):
            self._two_stages()
        elif not isinstance(network, SingleStageDetector) or not isinstance(
            network.bbox_head, AnchorHead | FCOSHead | YOLOV3Head
        ):
            self._refuse(type(network).__name__, 'a detector with anchors, FCOS or an R-CNN')
        self.masks = getattr(network, 'with_mask', False)
        limit = most_objects(model.config) or 0
        if limit < 1:
            self._refuse('a model without a limit on the number of objects', 'max_per_img=300')
        self._most = min(limit, most or limit)
        self.lengths = {'detections': {1: 4 + self.classes, 2: self._most}}
        self.outputs = ('detections', 'masks') if self.masks else ('detections',)

    def _refuse(self, found: str, expected: str) -> None:
        raise ConfigError(f'{self._name}: {found} cannot be exported to ONNX', expected)

    @property
    def dynamic(self) -> dict[str, dict[int, str]]:
        sizes = {**super().dynamic, 'detections': {0: 'batch'}}
        if self.masks:
            sizes['masks'] = {0: 'objects'}
        if self._refines_masks:
            del sizes['image'][0], sizes['detections']
        return sizes

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.normalised(image)
        features = self.network.extract_feat(x)
        if isinstance(self.network, TwoStageDetector):
            found = self._second_stage(features, self._proposals(features, x), x)
        elif isinstance(self.network.bbox_head, YOLOV3Head):
            found = self._yolo(features, x)
        else:
            head = self.network.bbox_head
            found = self._final(self._candidates(head, features, x), head.test_cfg)
        scores = found.scores.clamp(min=0)
        low, high = found.boxes[..., :2], found.boxes[..., 2:]
        confidences = F.one_hot(found.labels, self.classes) * scores[..., None]
        columns = [(low + high) / 2, high - low, confidences]
        detections = torch.cat(columns, dim=-1).transpose(1, 2)
        return (detections, self._outlines(features, found)) if self.masks else detections

    # Heads that predict at every place, in one stage or as the first of two.

    def _candidates(self, head: Any, features: Features, image: Tensor) -> Objects:
        """What a head finds at each level, at most ``nms_pre`` of each, by its own classes."""
        scores, deltas, *factors = head(features)
        levels = range(len(scores))
        parts = [
            self._of_level(head, level, [maps[level] for maps in (scores, deltas, *factors)])
            for level in levels
        ]
        least = head.test_cfg.get('min_bbox_size', -1)
        return Objects.cat(parts).in_image(image, least)

    def _of_level(self, head: Any, level: int, maps: Sequence[Tensor]) -> Objects:
        cfg = head.test_cfg
        batch, _, *size = maps[0].shape
        rows = [m.permute(0, 2, 3, 1) for m in maps]
        logits = rows[0].reshape(batch, -1, head.cls_out_channels)
        sigmoid = head.use_sigmoid_cls
        scores = logits.sigmoid() if sigmoid else logits.softmax(-1)[..., :-1]
        scores, index = _top(scores, cfg.get('score_thr', NONE), cfg.get('nms_pre', -1))
        classes = head.num_classes
        place, labels = index // classes, index % classes
        corners = place[..., None]
        deltas = rows[1].reshape(batch, -1, 4).gather(1, corners.expand(-1, -1, 4))
        priors = head.prior_generator.single_level_grid_priors(size, level, device='cpu')
        boxes = _decoded(head.bbox_coder, priors[place], deltas)
        if len(rows) > 2:
            factors = rows[2].reshape(batch, -1).gather(1, place).sigmoid()
            scores = torch.where(scores > NONE / 2, scores * factors, scores)
        return Objects(boxes, scores, labels)

    def _final(self, candidates: Objects, cfg: Any) -> Objects:
        kinds = 1 if cfg.nms.get('class_agnostic') else self.classes
        self._check_suppression(cfg.nms)
        labels = candidates.labels
        if kinds == 1:
            candidates = candidates._replace(labels=torch.zeros_like(labels))
        kept = candidates.without_duplicates(kinds, cfg.nms.iou_threshold)
        return kept._replace(labels=labels).best(self._most)

    def _check_suppression(self, cfg: Any) -> None:
        if cfg.get('type', 'nms') != 'nms':
            self._refuse(f'suppression by {cfg.type}', "nms=dict(type='nms', iou_threshold=...)")

    def _yolo(self, features: Features, image: Tensor) -> Objects:
        head = self.network.bbox_head
        cfg = head.test_cfg
        rows, priors, strides = [], [], []
        for level, found in enumerate(head(features)[0]):
            batch, _, *size = found.shape
            row = found.permute(0, 2, 3, 1).reshape(batch, -1, head.num_attrib)
            rows.append(torch.cat([row[..., :2].sigmoid(), row[..., 2:]], dim=-1))
            prior = head.prior_generator.single_level_grid_priors(size, level, device='cpu')
            priors.append(prior)
            strides.append(torch.full_like(prior[:, :1], head.featmap_strides[level]))
        row = torch.cat(rows, dim=1)
        boxes = head.bbox_coder.decode(torch.cat(priors), row[..., :4], torch.cat(strides))
        objectness = row[..., 4].sigmoid()
        scores = row[..., 5:].sigmoid()
        if (least := cfg.get('conf_thr', -1)) > 0:
            scores = _where(objectness[..., None] >= least, scores)
        scores, index = _top(scores, cfg.get('score_thr', 0), cfg.get('nms_pre', -1))
        place, labels = index // self.classes, index % self.classes
        boxes = boxes.gather(1, place[..., None].expand(-1, -1, 4))
        scores = torch.where(scores > NONE / 2, scores * objectness.gather(1, place), scores)
        found = Objects(boxes, scores, labels).in_image(image, cfg.get('min_bbox_size', -1))
        return self._final(found, cfg)

    # The second stage of an R-CNN: of proposals there are as many as there are.

    def _two_stages(self) -> None:
        network = self.network
        head = network.roi_head
        if not isinstance(head, StandardRoIHead | CascadeRoIHead) or (
            isinstance(head, CascadeRoIHead) and head.with_mask
        ):
            self._refuse(type(head).__name__, 'StandardRoIHead, CascadeRoIHead without masks')
        if self._refines_masks:
            head._get_fine_grained_point_feats = self._fine_features

    @property
    def _refines_masks(self) -> bool:
        return hasattr(getattr(self.network, 'roi_head', None), 'point_head')

    def _proposals(self, features: Features, image: Tensor) -> Objects:
        head = self.network.rpn_head
        cfg = head.test_cfg
        self._check_suppression(cfg.nms)
        scores, deltas = head(features)
        parts = []
        for level, maps in enumerate(zip(scores, deltas, strict=True)):
            found = self._of_level(head, level, maps)
            parts.append(found._replace(labels=torch.full_like(found.labels, level)))
        found = Objects.cat(parts).in_image(image, cfg.get('min_bbox_size', -1))
        return found.without_duplicates(len(parts), cfg.nms.iou_threshold).best(cfg.max_per_img)

    def _second_stage(self, features: Features, proposals: Objects, image: Tensor) -> Objects:
        head, cfg = self.network.roi_head, self.network.roi_head.test_cfg
        cascade = isinstance(head, CascadeRoIHead)
        heads = list(head.bbox_head) if cascade else [head.bbox_head]
        extractors = list(head.bbox_roi_extractor) if cascade else [head.bbox_roi_extractor]
        index = _present(proposals)
        rois = _rois(proposals, index)
        logits = []
        for stage, (extractor, box_head) in enumerate(zip(extractors, heads, strict=True)):
            scores, deltas = box_head(_pooled(extractor, features, rois))
            logits.append(scores)
            boxes = self._moved(box_head, rois, deltas, image)
            if stage + 1 < len(heads):
                label = scores[:, :-1].argmax(dim=1)[:, None, None].expand(-1, -1, 4)
                chosen = boxes[:, 0] if boxes.shape[1] == 1 else boxes.gather(1, label)[:, 0]
                rois = torch.cat([rois[:, :1], chosen], dim=1)
        scores = (sum(logits) / len(logits)).softmax(-1)[:, :-1]
        scores = _where(scores > cfg.score_thr, scores)
        shape = proposals.scores.shape
        boxes = boxes.expand(-1, self.classes, -1)
        everywhere = _spread(boxes, index, shape, 0.0), _spread(scores, index, shape, NONE)
        labels = torch.arange(self.classes).expand_as(everywhere[1])
        found = Objects(
            everywhere[0].flatten(1, 2), *(a.flatten(1) for a in (everywhere[1], labels))
        )
        return self._final(found, cfg)

    @staticmethod
    def _moved(head: Any, rois: Tensor, deltas: Tensor, image: Tensor) -> Tensor:
        """Boxes ``(R, 1 or classes, 4)`` in the image."""
        number = 1 if head.reg_class_agnostic else head.num_classes
        deltas = deltas.reshape(-1, number, 4)
        priors = rois[:, None, 1:].expand(-1, number, -1)
        boxes = _decoded(head.bbox_coder, priors, deltas)
        return Objects(boxes, boxes[..., 0], boxes[..., 0]).in_image(image).boxes

    def _outlines(self, features: Features, found: Objects) -> Tensor:
        head = self.network.roi_head
        index = _present(found, least=0)
        rois, labels = _rois(found, index), found.labels.flatten()[index]
        extractor = head.bbox_roi_extractor if head.share_roi_extractor else head.mask_roi_extractor
        extractor_features = features[: extractor.num_inputs]
        logits = head.mask_head(
            head._mask_features(features, rois)
            if hasattr(head, '_mask_features')
            else _pooled(extractor, extractor_features, rois)
        )
        if self._refines_masks:
            logits = head._mask_point_forward_test(features, rois, labels, logits)
        if head.mask_head.class_agnostic:
            return logits[:-1, 0].sigmoid()
        own = labels[:, None, None, None].expand(-1, 1, *logits.shape[2:])
        return logits.gather(1, own)[:-1, 0].sigmoid()

    def _fine_features(self, x: Features, rois: Tensor, rel_roi_points: Tensor) -> Tensor:
        """PointRend's features at points of each RoI, of one image."""
        found = []
        extractor = self.network.roi_head.mask_roi_extractor
        pixels = rel_roi_point_to_abs_img_point(rois, rel_roi_points)
        for features, stride in zip(x, extractor.featmap_strides, strict=False):
            # As a tensor: mmcv's own function would keep the size that the exporter has seen.
            size = shape_as_tensor(features)[2:].flip(0).float()
            points = pixels / stride / size
            values = point_sample(features, points.reshape(1, -1, 2))[0]
            found.append(values.reshape(len(values), *rel_roi_points.shape[:2]).transpose(0, 1))
        return torch.cat(found, dim=1)


def _top(scores: Tensor, threshold: float, count: int) -> tuple[Tensor, Tensor]:
    """The best of all places and classes, and their numbers; :data:`NONE` below a threshold.

    Args:
        scores: ``(batch, places, classes)``.
        threshold: What a score must be above.
        count: How many; no limit below 1.
    """
    flat = scores.flatten(1)
    flat = _where(flat > threshold, flat)
    if count < 1:
        return flat, torch.arange(flat.shape[1]).expand_as(flat)
    # Filled up, since a small image has fewer.
    values, index = F.pad(flat, (0, count), value=NONE).topk(count)
    return values, torch.where(values > NONE / 2, index, torch.zeros_like(index))


def _decoded(coder: Any, priors: Tensor, deltas: Tensor) -> Tensor:
    boxes = coder.decode(priors.reshape(-1, priors.shape[-1]), deltas.reshape(-1, 4))
    return boxes.reshape(deltas.shape)


def _present(objects: Objects, least: float = NONE / 2) -> Tensor:
    """Numbers of those that are there, counted over the batch, and once more the first place:
    not every operator takes nothing. What is computed of that one must be left out."""
    index = (objects.scores.flatten() > least).nonzero()[:, 0]
    return torch.cat([index, torch.zeros(1, dtype=torch.long)])


def _rois(objects: Objects, index: Tensor) -> Tensor:
    """``(R, 5)``: image and corners."""
    batch, count = objects.scores.shape
    images = torch.arange(batch)[:, None].expand(-1, count).flatten()[index]
    return torch.cat([images[:, None].float(), objects.boxes.flatten(0, 1)[index]], dim=1)


def _spread(values: Tensor, index: Tensor, shape: torch.Size, empty: float) -> Tensor:
    """Values of those that are there, ``(batch, N, ...)`` with the others empty."""
    batch, count = shape
    full = torch.full_like(values[:1], empty).expand(batch * count, -1, *values.shape[2:])
    return full.index_put((index[:-1],), values[:-1]).reshape(batch, count, *values.shape[1:])


def _pooled(extractor: Any, features: Features, rois: Tensor) -> Tensor:
    """Features of RoIs, each from the level of its size, as ``SingleRoIExtractor`` gives them."""
    layers = extractor.roi_layers
    features = features[: len(layers)]
    if len(layers) == 1:
        return _RoIAlign.apply(features[0], rois, layers[0])
    levels = extractor.map_roi_levels(rois, len(layers))
    order = [(levels == level).nonzero()[:, 0] for level in range(len(layers))]
    parts = [
        _RoIAlign.apply(feature, rois[index], layer)
        for feature, index, layer in zip(features, order, layers, strict=True)
    ]
    return torch.cat(parts)[torch.cat(order).argsort()]
