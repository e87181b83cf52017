"""The convolutions of VGG16 in five stages, with a choice of pooling (Simonyan and Zisserman 2015, ICLR)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tomostain.errors import InputError
from tomostain.evaluate.metrics.base import RGB
from tomostain.evaluate.metrics.checks import require_equal_rgb

MIN_SIDE_PX = 32
# Channels of each convolution by stage. A stage begins with a pooling, except the first.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
CHANNELS = tuple(stage[-1] for stage in STAGES)


class VggDistance(ABC):
    """A distance between two uint8 RGB images that is computed from the stages of VGG16, on the CPU.

    Attributes
    ----------
    label : str
        Name in messages.
    """

    label: str

    @torch.inference_mode()
    def __call__(self, a: RGB, b: RGB) -> float:
        """Return the distance, 0 for equal images.

        Parameters
        ----------
        a, b : ndarray of uint8, shape (Y, X, 3)
            With both sides of at least 32 px. They are not resized.

        Raises
        ------
        InputError
            If an image is too small, or the shapes differ.
        """
        return self.distance(images_to_tensor(a, b, self.label))

    @abstractmethod
    def distance(self, images: Tensor) -> float:
        """Return the distance of two images (2, 3, H, W) of float32 from 0 to 1."""


class Blur(nn.Module):
    """Reflect the border by `pad` px and apply a filter with a stride to each channel.

    Parameters
    ----------
    taps : sequence of float
        The filter along one axis. It is scaled to the sum 1.
    pad : int
        Width of the border, px.
    mode : str
        Mode of `torch.nn.functional.pad`.
    """

    def __init__(self, taps: Sequence[float], pad: int, mode: str) -> None:
        super().__init__()
        line = torch.tensor(taps, dtype=torch.float32)
        self.kernel = (line[:, None] * line[None]) / line.sum() ** 2
        self.pad, self.mode = pad, mode

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to about half the height and width."""
        channels = x.shape[1]
        x = nn.functional.pad(x, (self.pad,) * 4, mode=self.mode)
        kernel = self.kernel.to(x).expand(channels, 1, *self.kernel.shape)
        return nn.functional.conv2d(x, kernel, stride=2, groups=channels)


def vgg16_stages(pool: Callable[[], nn.Module]) -> nn.ModuleList:
    """Build the five stages, untrained. The output of a stage is that of its last ReLU."""
    stages, channels = nn.ModuleList(), 3
    for number, widths in enumerate(STAGES):
        layers: list[nn.Module] = [pool()] if number else []
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        stages.append(nn.Sequential(*layers))
    return stages


def convolutions(stages: nn.ModuleList) -> list[nn.Conv2d]:
    """Return the 13 convolutions in their order."""
    return [layer for layer in stages.modules() if isinstance(layer, nn.Conv2d)]


def load_convolutions(stages: nn.ModuleList, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
    """Copy the weights (out, in, 3, 3) and biases (out,) of the 13 convolutions, and freeze them."""
    with torch.no_grad():
        for layer, weight, bias in zip(convolutions(stages), weights, biases, strict=True):
            assert layer.bias is not None
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    stages.eval().requires_grad_(False)


def stage_outputs(stages: nn.ModuleList, images: Tensor) -> list[Tensor]:
    """Return the output of each stage for images (B, 3, H, W)."""
    outputs = []
    for stage in stages:
        images = stage(images)
        outputs.append(images)
    return outputs


def images_to_tensor(a: RGB, b: RGB, metric: str) -> Tensor:
    """Return two images as a batch (2, 3, H, W) of float32 from 0 to 1.

    Raises
    ------
    InputError
        If the images differ in shape, are not uint8 RGB, or have a side below 32 px.
    """
    require_equal_rgb(a, b)
    if min(a.shape[:2]) < MIN_SIDE_PX:
        raise InputError(
            f"{metric}: image of {a.shape[0]} × {a.shape[1]} px; both sides must be {MIN_SIDE_PX} px or more"
        )
    return torch.from_numpy(np.stack([a, b])).permute(0, 3, 1, 2).to(torch.float32) / 255


def load_tensors(path: Path) -> Mapping[str, Tensor]:
    """Read a file of tensors without running code that it may contain."""
    return torch.load(path, map_location="cpu", weights_only=True)


def float_array(data: bytes, start: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the little-endian float32 array of a shape that starts at a byte of a file."""
    count = int(np.prod(shape))
    return np.frombuffer(data, "<f4", count, start).reshape(shape).astype(np.float32)
