"""The effective receptive field of a model."""

import torch
from mmseg.models import BaseSegmentor

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
