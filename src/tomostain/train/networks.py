"""The networks: ResNet and U-Net generators and the patch discriminator, built from plain specifications.

A specification is a mapping, ``{"name": "resnet", "in_channels": 3, "width": 64}``, as it stands in recipes and in
``model.yaml``; nothing but numbers and names, so that a model folder can be read without running anything of it.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tomostain.config import suggest
from tomostain.errors import InputError
from tomostain.train.field import DisplacementField


class ResNetGenerator(nn.Module):
    """Johnson's residual generator as CycleGAN uses it: c7s1-w, d2w, d4w, R4w × blocks, u2w, uw, c7s1-out, tanh.

    Upsampling is nearest-neighbour × 2 and a 3 × 3 convolution, as in the paper's base code, in place of CycleGAN's
    transposed convolution: the number of parameters is the same, the checkerboard is not drawn. All padding is by
    reflection and of the kernel's half width, so that any number of channels keeps its size.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    width : int
        Features after the first layer (paper section 2.6.3: 64).
    blocks : int
        Residual blocks (paper: 9).
    norm : {"instance", "channel", "none"}
        Normalisation after each inner convolution: `ChannelNorm` does not depend on what else is in the picture.

    Attributes
    ----------
    multiple : int
        Rows and columns of the input must be multiples of this: 4.
    smallest : int
        And at least this: 8.

    Notes
    -----
    Input (B, in_channels, H, W), output (B, out_channels, H, W), float in [-1, 1].
    Source: Zhu et al. 2017 (CycleGAN), appendix; Irvine et al., J. Synchrotron Rad. 2026, section 2.6.3.
    """

    multiple = 4
    smallest = 8

    def __init__(
        self, in_channels: int = 3, out_channels: int = 3, width: int = 64, blocks: int = 9, norm: str = "instance"
    ) -> None:
        super().__init__()
        layers = _conv_norm_relu(in_channels, width, 7, norm=norm)
        for features in (width, 2 * width):
            layers += _conv_norm_relu(features, 2 * features, 3, stride=2, norm=norm)
        layers += [ResidualBlock(4 * width, norm) for _ in range(blocks)]
        for features in (4 * width, 2 * width):
            layers += [nn.Upsample(scale_factor=2), *_conv_norm_relu(features, features // 2, 3, norm=norm)]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """Translate a batch (B, in_channels, H, W) into (B, out_channels, H, W)."""
        return self.layers(image)


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions whose result is added to their input (B, features, H, W)."""

    def __init__(self, features: int, norm: str = "instance") -> None:
        super().__init__()
        first = _conv_norm_relu(features, features, 3, norm=norm)
        second = _conv_norm_relu(features, features, 3, norm=norm)[:-1]
        self.layers = nn.Sequential(*first, *second)

    def forward(self, image: Tensor) -> Tensor:
        """Return input + residual."""
        return image + self.layers(image)


class UNetGenerator(nn.Module):
    """The U-Net of pix2pix: `downs` halvings by 4 × 4 convolutions, mirrored by transposed ones, with skips.

    Dropout of 0.5 in the decoder below the fifth halving (three layers of eight) works while training only: `eval()`
    turns it off. The paper's base code leaves it on when sampling, which is no fair baseline.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    width : int
        Features after the first layer; they double up to 8 × width.
    downs : int
        Halvings: 8 brings 256 px to one (pix2pix); fewer for smaller patches. At least 2.
    dropout : float
        Probability in the decoder below the fifth halving.
    norm : {"instance", "channel", "none"}
        Normalisation. pix2pix trained with batches of one, where batch and instance normalisation agree.
    detail : int
        Features of a head at full resolution that sees the input itself, in place of the last transposed convolution,
        whose chequers (Odena et al. 2016, DOI 10.23915/distill.00003) nothing smooths; 0: as in pix2pix.

    Attributes
    ----------
    multiple : int
        Rows and columns of the input must be multiples of this: 2 ** downs.
    smallest : int
        And at least this: 2 ** downs.

    Notes
    -----
    Source: Isola et al. 2017 (pix2pix), appendix 6.1.1; Irvine et al., J. Synchrotron Rad. 2026, section 2.6.3.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 64,
        downs: int = 8,
        dropout: float = 0.5,
        norm: str = "instance",
        detail: int = 0,
    ) -> None:
        super().__init__()
        if downs < 2:
            raise InputError(f"network 'unet': downs is {downs}; give at least 2")
        features = [width * min(2**level, 8) for level in range(downs)]
        self.multiple = self.smallest = 2**downs
        self.first = nn.Conv2d(in_channels, features[0], 4, 2, 1)
        self.down = nn.ModuleList(
            # The innermost may be of one pixel, where a normalisation over pixels would leave nothing.
            _down(features[level - 1], features[level], "none" if level == downs - 1 else norm)
            for level in range(1, downs)
        )
        self.up = nn.ModuleList(
            _up(
                features[level] * (1 if level == downs - 1 else 2),
                features[level - 1],
                dropout if level >= 5 else 0.0,  # pix2pix: CD512-CD512-CD512, the three innermost of eight
                norm,
            )
            for level in range(downs - 1, 0, -1)
        )
        inner = 2 * features[0]
        # Without the head the modules are named as ever: stored models of before still load.
        self.head = DetailHead(inner, in_channels, detail, out_channels) if detail else None
        if not detail:
            self.last = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(inner, out_channels, 4, 2, 1), nn.Tanh())

    def forward(self, image: Tensor) -> Tensor:
        """Translate a batch (B, in_channels, H, W) into (B, out_channels, H, W)."""
        skips = [self.first(image)]
        for down in self.down:
            skips.append(down(skips[-1]))
        decoded = skips.pop()
        for up in self.up:
            decoded = torch.cat([up(decoded), skips.pop()], dim=1)
        return self.last(decoded) if self.head is None else self.head(decoded, image)


class DetailHead(nn.Module):
    """From half the resolution to the picture: enlarged smoothly, then drawn with the input itself in sight."""

    def __init__(self, inner: int, in_channels: int, features: int, out_channels: int) -> None:
        super().__init__()
        self.coarse = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(inner, features, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        )
        self.fine = nn.Sequential(
            nn.Conv2d(features + in_channels, features, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(features, out_channels, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, decoded: Tensor, image: Tensor) -> Tensor:
        """Draw (B, out_channels, H, W) from (B, inner, H / 2, W / 2) and the input (B, in_channels, H, W)."""
        return self.fine(torch.cat([self.coarse(decoded), image], dim=1))


class PatchDiscriminator(nn.Module):
    """PatchGAN: judges every patch of an image, C64-C128-C256-C512-1 with 4 × 4 kernels.

    `layers` convolutions of stride 2 and two of stride 1. With the default three the receptive field is 70 × 70 px, as
    the paper names it (its base code's sees 94 × 94); with two it is 34 × 34, with one 16 × 16.

    Parameters
    ----------
    in_channels : int
        Channels of the judged image; for a conditional discriminator those of image and condition together.
    width : int
        Features after the first layer; they double up to 8 × width.
    layers : int
        Convolutions of stride 2.
    norm : {"instance", "channel", "none"}
        Normalisation after all but the first and the last convolution.

    Notes
    -----
    Input (B, in_channels, H, W), output (B, 1, h, w): one score for each patch, unbounded, 1 meaning real (LSGAN).
    Source: Isola et al. 2017, appendix 6.1.2; Irvine et al., J. Synchrotron Rad. 2026, section 2.6.3.
    """

    def __init__(self, in_channels: int = 3, width: int = 64, layers: int = 3, norm: str = "instance") -> None:
        super().__init__()
        features = [width * min(2**level, 8) for level in range(layers + 1)]
        modules: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(1, layers + 1):
            stride = 2 if level < layers else 1
            modules += [nn.Conv2d(features[level - 1], features[level], 4, stride, 1), *_norm(norm, features[level])]
            modules += [nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*modules, nn.Conv2d(features[-1], 1, 4, 1, 1))
        self.receptive_field = receptive_field(self)

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Score the patches of `image` (B, C, H, W), given `condition` (B, C', H, W) where it is conditional."""
        return self.features(image, condition)[-1]

    def features(self, image: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """Return what each activation hands on, and the scores last."""
        now = image if condition is None else torch.cat([condition, image], dim=1)
        found = []
        for layer in self.layers:
            now = layer(now)
            if isinstance(layer, nn.LeakyReLU):
                found.append(now)
        return [*found, now]


class ChannelNorm(nn.Module):
    """Normalise each pixel over its channels, then scale and shift each channel.

    Instance normalisation takes mean and deviation over a picture, so that what a pixel becomes depends on the tile it
    is stained in: where all is marrow, nothing says how bright marrow is. Here it depends on the pixel alone.

    Parameters
    ----------
    features : int
        Channels.

    Notes
    -----
    Input and output (B, features, H, W). Source: Ba et al. 2016 (layer normalisation), over channels only.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, image: Tensor) -> Tensor:
        """Return the normalised image."""
        variance, mean = torch.var_mean(image, dim=1, keepdim=True, correction=0)
        scaled = (image - mean) * torch.rsqrt(variance + 1e-5)
        return scaled * self.gain[:, None, None] + self.bias[:, None, None]


NORMS: dict[str, Callable[[int], nn.Module] | None] = {
    "instance": nn.InstanceNorm2d,
    "channel": ChannelNorm,
    "none": None,
}

NETWORKS: dict[str, type[nn.Module]] = {
    "field": DisplacementField,
    "resnet": ResNetGenerator,
    "unet": UNetGenerator,
    "patch": PatchDiscriminator,
}


def build_network(spec: Mapping[str, Any], generator: torch.Generator | None = None) -> nn.Module:
    """Build a network from its specification, its weights drawn from N(0, 0.02) and its biases 0 as in CycleGAN.

    Parameters
    ----------
    spec : mapping
        ``name`` (a key of `NETWORKS`) and the arguments of that class.
    generator : torch.Generator, optional
        Draws the weights; torch's global one otherwise.

    Raises
    ------
    InputError
        If the name or an argument is unknown (with "did you mean"), or a value is not possible.

    Examples
    --------
    >>> net = build_network({"name": "resnet", "in_channels": 1, "width": 4, "blocks": 1})
    >>> net(torch.zeros(1, 1, 16, 20)).shape
    torch.Size([1, 3, 16, 20])
    >>> build_network({"name": "resnest"})
    Traceback (most recent call last):
    ...
    tomostain.errors.InputError: network name: 'resnest' is unknown; did you mean 'resnet'?
    """
    arguments = check_spec(spec)
    network = NETWORKS[spec["name"]](**arguments)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def check_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a specification after checking their names and values, without building anything.

    Raises
    ------
    InputError
        As `build_network`.
    """
    name = str(spec.get("name", ""))
    if name not in NETWORKS:
        raise InputError(f"network name: '{name}' is unknown{suggest(name, list(NETWORKS))}")
    known = list(inspect.signature(NETWORKS[name]).parameters)
    arguments = {key: value for key, value in spec.items() if key != "name"}
    for key, value in arguments.items():
        if key not in known:
            raise InputError(f"network '{name}': unknown key '{key}'{suggest(key, known)}")
        if key == "norm":
            possible, allowed = isinstance(value, str) and value in NORMS, f"one of {', '.join(NORMS)}"
        elif key == "dropout":
            possible, allowed = _is_number(value, float) and 0 <= value < 1, "a number from 0 to less than 1"
        else:
            least = 0 if key in ("blocks", "detail") else 1
            possible, allowed = (
                _is_number(value, int) and least <= value <= 4096,
                f"a whole number from {least} to 4096",
            )
        if not possible:
            raise InputError(f"network '{name}': {key} is {value!r}; give {allowed}")
    return arguments


def size_step(spec: Mapping[str, Any]) -> int:
    """Return what the rows and columns of a generator's input must be multiples of: 4, or 2 ** downs of a U-Net."""
    return ResNetGenerator.multiple if spec["name"] == "resnet" else 2 ** int(spec.get("downs", 8))


def smallest_px(spec: Mapping[str, Any]) -> int:
    """Return the least side of an image that a patch discriminator can judge, px.

    Its last normalisation needs 2 pixels a side; a convolution of kernel 4, padding 1 and stride 1 takes one away.
    """
    return 3 * 2 ** int(spec.get("layers", 3))


def receptive_field(network: nn.Module) -> int:
    """Return how many input pixels, along one axis, one output value of a plain chain of convolutions sees.

    Each convolution of kernel k widens the field by (k - 1) times the product of the strides before it.
    """
    field, step = 1, 1
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            field += (module.kernel_size[0] - 1) * step
            step *= module.stride[0]
    return field


def count_parameters(network: nn.Module) -> int:
    """Return the number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters())


def _is_number(value: Any, kind: type) -> bool:
    return not isinstance(value, bool) and isinstance(value, int if kind is int else (int, float))


def _norm(norm: str, features: int) -> list[nn.Module]:
    build = NORMS[norm]
    return [] if build is None else [build(features)]


def _conv_norm_relu(inputs: int, outputs: int, kernel: int, *, stride: int = 1, norm: str) -> list[nn.Module]:
    """Reflect, convolve, normalise, rectify."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride)
    return [nn.ReflectionPad2d(kernel // 2), convolution, *_norm(norm, outputs), nn.ReLU()]


def _down(inputs: int, outputs: int, norm: str) -> nn.Module:
    return nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(inputs, outputs, 4, 2, 1), *_norm(norm, outputs))


def _up(inputs: int, outputs: int, dropout: float, norm: str) -> nn.Module:
    layers = [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), *_norm(norm, outputs)]
    return nn.Sequential(*layers, *([nn.Dropout(dropout)] if dropout else []))
