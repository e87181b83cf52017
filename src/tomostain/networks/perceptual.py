"""AlexNet's features and the perceptual distance LPIPS on them, as a differentiable module.

LPIPS (Zhang et al. 2018, CVPR, pp. 586–595, https://doi.org/10.1109/CVPR.2018.00068): with unit-normalised feature maps
f_l of a pretrained network, ``d(x, y) = Σ_l mean_hw Σ_c w_lc (f_l(x) - f_l(y))²``. The package ships the features of
AlexNet in half precision and the learned weights w_l. On the authors' three example images the distance changes by less
than 5e-5 against single precision. The file ``weights/NOTICE.md`` states the source and the licence.
"""

from importlib.resources import as_file, files

import numpy as np
import torch
from torch import Tensor, nn

ALEXNET_TAPS = (1, 4, 7, 9, 11)
MIN_SIDE_PX = 32  # below 31 px nothing is left after AlexNet's second pooling

# Mean and standard deviation of ImageNet, as the authors of LPIPS apply them to images in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


def alexnet_features() -> nn.Sequential:
    """Build AlexNet's convolutions, untrained; numbered as torchvision's ``features``."""
    pool = nn.MaxPool2d(3, stride=2)
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), pool),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )


def load_weights(name: str) -> dict[str, Tensor]:
    """Read one of the weight files of this package as float32 tensors."""
    with as_file(files("tomostain.networks") / "weights" / name) as path, np.load(path, allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key].astype(np.float32)) for key in arrays.files}


def scale_for_imagenet(images: Tensor) -> Tensor:
    """Shift and scale images (B, 3, H, W) in [-1, 1] as networks trained on ImageNet expect them."""
    shift, scale = (images.new_tensor(values).view(1, 3, 1, 1) for values in (SHIFT, SCALE))
    return (images - shift) / scale


def unit_length(features: Tensor) -> Tensor:
    """Scale feature maps (B, C, H, W) to unit length along the channels at each pixel.

    The small constant bounds the gradient where all channels are 0.
    """
    return features * torch.rsqrt(features.square().sum(dim=1, keepdim=True) + 1e-10)


class PerceptualDistance(nn.Module):
    """LPIPS of AlexNet between two batches of images, differentiable. Its weights are fixed.

    Notes
    -----
    Input: two tensors (B, 3, H, W) of float in [-1, 1] with sides of at least 32 px. Output: a tensor (B,).

    Examples
    --------
    >>> distance = PerceptualDistance()
    >>> white = torch.ones(1, 3, 64, 64)
    >>> distance(white, white).item()
    0.0
    >>> bool(distance(white, -white) > 0)
    True
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = alexnet_features()
        # `load_state_dict` copies, so building this network does not depend on random draws.
        self.layers.load_state_dict(load_weights("alexnet_features_float16.npz"))
        # On the device: copying numbers there would make the host wait in every step.
        for name, values in (("shift", SHIFT), ("scale", SCALE)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        heads = load_weights("lpips_heads.npz")
        for number in range(len(ALEXNET_TAPS)):
            self.register_buffer(f"head{number}", heads[f"alex.lin{number}"].view(1, -1, 1, 1))
        self.requires_grad_(False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the unit-length feature maps of the five layers that LPIPS compares."""
        value, maps = (images - self.shift) / self.scale, []
        for number, layer in enumerate(self.layers):
            value = layer(value)
            if number in ALEXNET_TAPS:
                maps.append(unit_length(value))
        return maps

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the distance of each image from its target, shape (B,). No gradient flows to `targets`."""
        with torch.no_grad():
            references = self.features(targets)
        total = images.new_zeros(len(images))
        for number, (a, b) in enumerate(zip(self.features(images), references, strict=True)):
            total = total + ((a - b).square() * getattr(self, f"head{number}")).sum(dim=1).mean(dim=(1, 2))
        return total
