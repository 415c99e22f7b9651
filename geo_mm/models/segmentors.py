"""Segmentors: heads that follow their backbone, the decoder of U-Net, PointRend; and the
effective receptive field."""

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from mmcv.cnn import ConvModule
from mmengine.config import ConfigDict
from mmseg.models import BaseSegmentor
from mmseg.models import EncoderDecoder as MMSegEncoderDecoder
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.decode_heads.psp_head import PPM
from mmseg.models.utils import resize
from mmseg.registry import MODELS as MMSEG_MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import add_prefix
from torch import Tensor, nn

from geo_mm.errors import ConfigError
from geo_mm.models.stems import COLOURS
from geo_mm.registry import MODELS

_SIDE = 64
"""Pixels of the image that shows how many channels features have."""


@MODELS.register_module()
class EncoderDecoder(MMSegEncoderDecoder):
    """``mmseg.EncoderDecoder`` whose width and number of classes stand in one place each.

    Where a head leaves them out, ``in_channels`` are those of the features that
    it takes by ``in_index``; ``channels`` of ``decode_head`` those of the finest of
    them; ``channels`` and ``num_classes`` of other heads those of ``decode_head``.

    Args:
        **kwargs: Of ``mmseg.EncoderDecoder``.
    """

    def _init_decode_head(self, decode_head: Mapping) -> None:
        super()._init_decode_head(self._completed(decode_head))

    def _init_auxiliary_head(self, auxiliary_head: Mapping | Sequence[Mapping] | None) -> None:
        if isinstance(auxiliary_head, Mapping):
            auxiliary_head = self._completed(auxiliary_head)
        elif auxiliary_head is not None:
            auxiliary_head = [self._completed(head) for head in auxiliary_head]
        super()._init_auxiliary_head(auxiliary_head)

    def _completed(self, head: Mapping) -> dict:
        """A head's config with what it leaves out."""
        head = dict(head)
        if hasattr(self, 'decode_head'):
            head.setdefault('num_classes', self.num_classes)
        if 'in_channels' not in head:
            widths, index = self._widths(), head.get('in_index', -1)
            head['in_channels'] = (
                widths[index] if isinstance(index, int) else [widths[i] for i in index]
            )
        finest = head['in_channels']
        own = finest if isinstance(finest, int) else finest[0]
        head.setdefault('channels', getattr(getattr(self, 'decode_head', None), 'channels', own))
        return head

    def _widths(self) -> list[int]:
        """Channels of each of the features that heads are given."""
        mean = getattr(self.data_preprocessor, 'mean', None)
        bands = COLOURS if mean is None else mean.numel()
        training = self.training
        with torch.no_grad():
            features = self.eval().extract_feat(torch.zeros(1, bands, _SIDE, _SIDE))
        self.train(training)
        return [feature.shape[1] for feature in features]


@MODELS.register_module()
class PointRendSegmentor(EncoderDecoder):
    """PointRend for pixels: a prediction refined up to the input's resolution.

    Kirillov et al. 2020, arXiv:1912.08193.

    Where ``decode_head`` predicts at a coarser resolution than the input's,
    its scores are doubled in size again and again, and after each doubling the
    most uncertain pixels are predicted anew by ``point_head``, from the
    coarse scores and fine features at each of them. Training adds the loss of
    some points, most of them uncertain.

    ``mmseg.CascadeEncoderDecoder`` does the same, but holds both heads in a list,
    which a child config can only replace as a whole, runs the first head twice
    per step, and needs the number of doublings by hand.

    Args:
        point_head: ``dict(type='PointHead', ...)``; its ``in_index`` names the
            backbone's features that it looks up, the finer the better.
        refined_share: Pixels that are predicted anew after each doubling, as a
            share 0..1 of the input's; equal for any size of input.
        **kwargs: Of :class:`EncoderDecoder`. ``train_cfg`` has ``num_points``
            per chip, ``oversample_ratio`` and ``importance_sample_ratio``.

    Raises:
        ConfigError: If a head does not fit: one output channel, or a
            ``decode_head`` that predicts at the input's resolution already.
    """

    def __init__(self, point_head: Mapping, refined_share: float = 1 / 16, **kwargs) -> None:
        super().__init__(**kwargs)
        if self.out_channels < 2:
            raise ConfigError(
                'PointRend on a decode_head with out_channels=1',
                'a channel per class, since the two best of a pixel are compared',
                'leave out_channels out, with num_classes=2 for a binary model',
            )
        if not 0 < refined_share <= 1:
            raise ConfigError(f'PointRend with refined_share={refined_share}', 'above 0, at most 1')
        self.point_head = MMSEG_MODELS.build(self._completed(point_head))
        self.point_head.init_cfg = None  # as for geo_mm.UNetHead
        self.refined_share = refined_share

    def encode_decode(self, inputs: Tensor, batch_img_metas: Sequence[dict]) -> Tensor:
        """Class scores ``(N, classes, height, width)``."""
        x = self.extract_feat(inputs)
        coarse = self.decode_head(x)
        height, width = inputs.shape[2:]
        rendering = ConfigDict(
            scale_factor=2,
            subdivision_steps=_doublings(inputs, coarse),
            subdivision_num_points=self.refined(height, width),
        )
        return self.point_head.predict(x, coarse, batch_img_metas, rendering)

    def refined(self, height: int, width: int) -> int:
        """Number of pixels of an image that are predicted anew after each doubling."""
        return max(round(self.refined_share * height * width), 1)

    def loss(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> dict:
        """Losses of both heads, and of the auxiliary one if there is any."""
        x = self.extract_feat(inputs)
        coarse = self.decode_head(x)
        _doublings(inputs, coarse)
        losses = add_prefix(self.decode_head.loss_by_feat(coarse, data_samples), 'decode')
        points = self.point_head.loss(x, coarse, data_samples, self.train_cfg)
        losses.update(add_prefix(points, 'point'))
        if self.with_auxiliary_head:
            losses.update(self._auxiliary_head_forward_train(x, data_samples))
        return losses

    def _forward(
        self, inputs: Tensor, data_samples: Sequence[SegDataSample] | None = None
    ) -> Tensor:
        return self.encode_decode(inputs, [{'img_shape': inputs.shape[2:]}] * len(inputs))


def _doublings(inputs: Tensor, coarse: Tensor) -> int:
    """How often scores must be doubled in size to reach the input's."""
    steps = math.ceil(math.log2(inputs.shape[-1] / coarse.shape[-1]))
    if steps < 1:
        raise ConfigError(
            f'PointRend on a decode_head that predicts {coarse.shape[-1]} of '
            f'{inputs.shape[-1]} pixels in a row',
            'a coarser prediction, which it could refine',
            'leave the finest levels out of in_index and in_channels of the decode_head',
        )
    return steps


@MODELS.register_module()
class UNetHead(BaseDecodeHead):
    """Decoder of U-Net: upsamples from the coarsest features, level by level.

    At each level the features so far are enlarged to the level's size, joined
    with the backbone's own and convolved (Ronneberger et al. 2015,
    arXiv:1505.04597). Convolutions after bilinear interpolation learn how to
    upsample, without a transposed convolution's checkerboard.

    With ``pool_scales`` the coarsest features first pass PSPNet's pyramid
    pooling (Zhao et al. 2017, arXiv:1612.01105): the head is then PSPNet's with
    a decoder that learns, in place of one bilinear enlargement by eight.

    The classes come at the resolution of the finest level that is given, and
    are enlarged to the input's bilinearly.

    Args:
        in_channels: Channels of the levels in use, finest first.
        in_index: Which of the backbone's features these are, finest first.
            Neighbours may be of the same size, as those of a dilated backbone.
        channels: Of the decoder at the finest level; doubled at each coarser.
        pool_scales: Sides of the grids that the coarsest features are pooled
            to; none for a plain U-Net.
        num_convs: Convolutions at each level.
        init_cfg: Default is torch's own. MMSegmentation's starts the last layer
            at a spread of 0.01, which narrow heads need hundreds of iterations
            to leave.
        **kwargs: Of ``mmseg.BaseDecodeHead``: ``num_classes``, ``norm_cfg``,
            ``dropout_ratio``, ``loss_decode``.

    Raises:
        ConfigError: If there are no two levels, or other numbers of
            ``in_channels`` and ``in_index``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        in_index: Sequence[int],
        channels: int,
        pool_scales: Sequence[int] = (),
        num_convs: int = 2,
        init_cfg: Mapping | Sequence[Mapping] | None = None,
        **kwargs,
    ) -> None:
        if len(in_channels) != len(in_index) or len(in_index) < 2:
            raise ConfigError(
                f'UNetHead: in_channels={tuple(in_channels)}, in_index={tuple(in_index)}',
                'as many of both, and at least two levels',
            )
        super().__init__(
            in_channels=in_channels,
            in_index=in_index,
            channels=channels,
            input_transform='multiple_select',
            init_cfg=init_cfg,
            **kwargs,
        )
        *skips, coarsest = in_channels
        self.pyramid = None
        if pool_scales:
            wide = channels << len(skips)
            branch = max(wide // len(pool_scales), 1)
            self.pyramid = PPM(
                pool_scales, coarsest, branch, align_corners=self.align_corners, **self._layers()
            )
            self.bottleneck = self._convs(coarsest + branch * len(pool_scales), wide, 1)
            coarsest = wide
        self.steps = nn.ModuleList()  # coarsest level first
        for level in reversed(range(len(skips))):
            width = channels << level
            self.steps.append(self._convs(coarsest + skips[level], width, num_convs))
            coarsest = width

    def _layers(self) -> dict:
        return {'conv_cfg': self.conv_cfg, 'norm_cfg': self.norm_cfg, 'act_cfg': self.act_cfg}

    def _convs(self, in_channels: int, channels: int, count: int) -> nn.Sequential:
        widths = [in_channels] + [channels] * count
        return nn.Sequential(
            *(
                ConvModule(before, after, 3, padding=1, **self._layers())
                for before, after in itertools.pairwise(widths)
            )
        )

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Class scores ``(N, classes, h, w)`` from the backbone's features."""
        *skips, x = self._transform_inputs(inputs)
        if self.pyramid is not None:
            x = self.bottleneck(torch.cat([x, *self.pyramid(x)], dim=1))
        for step, skip in zip(self.steps, reversed(skips), strict=True):
            x = resize(x, skip.shape[2:], mode='bilinear', align_corners=self.align_corners)
            x = step(torch.cat([x, skip], dim=1))
        return self.cls_seg(x)


SHARE = 0.95
"""Of the gradient that counts: two standard deviations where it falls off like a Gaussian."""

_IMAGES = 2


def receptive_radius(model: BaseSegmentor, bands: int, side: int) -> int:
    """Measures the effective receptive field of a model for pixels.

    The theoretical field of a deep network is larger than any tile, but little
    comes from most of it. As Luo et al. (2016, arXiv:1701.04128) do, this takes
    the gradient of the logits in the middle of random images with respect to
    the images, as they come from the preprocessor.

    Args:
        model: In evaluation mode; its parameters' gradients are left alone.
        bands: Of the images.
        side: Of the images, in pixels; the radius is less than half of it.

    Returns:
        Pixels from the middle to each side of the smallest square that holds
        :data:`SHARE` of the gradient's magnitude.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(_IMAGES, bands, side, side, generator=generator).to(device)
    images.requires_grad_()
    shape = {name: (side, side) for name in ('ori_shape', 'img_shape', 'pad_shape')}
    # Compiling for one backward pass would take longer than it.
    with torch.enable_grad(), torch.compiler.set_stance('force_eager'):
        logits = model.encode_decode(images, [shape] * _IMAGES)
        middle = logits[..., logits.shape[-2] // 2, logits.shape[-1] // 2]
        # Random signs: the sum over the classes of what a softmax sees may hide much.
        signs = torch.randn(middle.shape, generator=generator).to(device)
        (gradient,) = torch.autograd.grad((middle * signs).sum(), images)
    return _radius(gradient.abs().sum(dim=(0, 1)))


def _radius(magnitude: torch.Tensor) -> int:
    """Half a side of the smallest square around the middle that holds enough."""
    centre = len(magnitude) // 2
    offsets = torch.arange(len(magnitude), device=magnitude.device) - centre
    distance = torch.maximum(offsets.abs()[:, None], offsets.abs()[None])
    rings = torch.zeros(centre + 1, dtype=torch.float64, device=magnitude.device)
    rings.index_add_(0, distance.flatten(), magnitude.double().flatten())
    within = rings.cumsum(0) / rings.sum()
    return int((within < SHARE).sum())
