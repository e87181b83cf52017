"""ST-LPIPS: the perceptual distance that tolerates small shifts, on VGG16 (Ghildyal and Liu 2022, ECCV).

The distance has the form of LPIPS (`tomostain.evaluate.metrics.lpips`). The network pools with blur against aliasing
(Zhang 2019, ICML) and was trained to give the same value for images that are shifted by a few pixels. The weights are
in the package stlpips-pytorch 0.0.2 (BSD 2-clause), of which only the weight file is read.
"""

from functools import cache

from torch import Tensor, nn

from tomostain.evaluate.metrics.base import RGB, register_metric
from tomostain.evaluate.metrics.vgg import (
    MIN_SIDE_PX,
    STAGES,
    Blur,
    VggDistance,
    load_convolutions,
    load_tensors,
    stage_outputs,
    vgg16_stages,
)
from tomostain.evaluate.metrics.weights import PackagedFile
from tomostain.networks.perceptual import scale_for_imagenet

WEIGHTS = PackagedFile(
    package="stlpips-pytorch",
    path="stlpips_pytorch/weights/vST0.0/vgg_shift_tolerant.pth",
    sha256="44597da68f49c1837c100ff52299050f274d102eb102e5837178c79be6f0e250",
    install="pip install 'tomostain[metrics]'",
)


class ShiftTolerantLpips(VggDistance):
    """The distance between uint8 RGB images, on the CPU.

    Raises
    ------
    InputError
        If the weights are not installed.
    """

    label = "ST-LPIPS"

    def __init__(self) -> None:
        state = load_tensors(WEIGHTS.locate("st_lpips"))
        self._stages = vgg16_stages(_pool)
        names = [name.removesuffix(".weight") for name in state if name.startswith("net.") and name.endswith(".weight")]
        load_convolutions(
            self._stages, [state[f"{name}.weight"] for name in names], [state[f"{name}.bias"] for name in names]
        )
        self._heads = [state[f"lin{number}.model.1.weight"].view(-1, 1, 1) for number in range(len(STAGES))]

    def distance(self, images: Tensor) -> float:
        """Return the distance of two images (2, 3, H, W) of float32 from 0 to 1."""
        images = scale_for_imagenet(2 * images - 1)
        total = 0.0
        for head, maps in zip(self._heads, stage_outputs(self._stages, images), strict=True):
            unit = maps / (maps.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
            total += float(((unit[0] - unit[1]).square() * head).sum(dim=0).mean())
        return total


_network = cache(ShiftTolerantLpips)


def _check() -> None:
    WEIGHTS.locate("st_lpips")


@register_metric("st_lpips", label="ST-LPIPS (VGG16)", larger_is_better=False, min_side_px=MIN_SIDE_PX, check=_check)
def st_lpips(a: RGB, b: RGB) -> float:
    """Shift-tolerant LPIPS on VGG16 (extra ``metrics``).

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


def _pool() -> nn.Module:
    return nn.Sequential(nn.MaxPool2d(2, stride=1), Blur((1, 2, 1), pad=2, mode="reflect"))
