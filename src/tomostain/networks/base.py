"""Base classes of networks and of their specifications.

A specification is the typed form of a mapping such as ``{"name": "resnet", "in_channels": 3, "width": 64}`` in a
recipe or in ``model.yaml``. It holds only numbers and names, so a model folder can be read without running its content.
"""

from typing import Annotated, ClassVar, Self

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from tomostain.config import Config


def _check_odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError("give an odd number from 1 to 255, so that the kernel has a centre")
    return number


Count = Annotated[int, Field(strict=True, ge=1, le=4096)]
"""A whole number from 1 to 4096: channels, features."""
CountOrZero = Annotated[int, Field(strict=True, ge=0, le=4096)]
"""A whole number from 0 to 4096."""
Depth = Annotated[int, Field(strict=True, ge=1, le=256)]
"""A whole number from 1 to 256: blocks or layers one after the other."""
DepthOrZero = Annotated[int, Field(strict=True, ge=0, le=256)]
"""A whole number from 0 to 256."""
Downsamplings = Annotated[int, Field(strict=True, ge=2, le=12)]
"""How often a U-Net halves its input: 2 to 12 times."""
OddKernel = Annotated[int, Field(strict=True, ge=1, le=255), AfterValidator(_check_odd)]
"""Side of a convolution kernel: an odd number from 1 to 255."""
Probability = Annotated[float, Field(strict=True, ge=0, lt=1)]
"""A number from 0 to less than 1."""


class NetworkSpec(Config):
    """Arguments of a network.

    Attributes
    ----------
    name : str
        Name under which the class is registered; the decorators in `tomostain.networks.registry` set it.
    """

    name: str = ""


class GeneratorSpec(NetworkSpec):
    """Arguments of a generator. Subclasses add their own fields and override the properties where they differ.

    Attributes
    ----------
    in_channels, out_channels : int
        Channels of the input and of the output.
    """

    in_channels: Count = 3
    out_channels: Count = 3

    @property
    def size_multiple(self) -> int:
        """Rows and columns of the input must be multiples of this, px."""
        return 1

    @property
    def min_size_px(self) -> int:
        """Minimum rows and columns of the input, px."""
        return self.size_multiple

    @property
    def activation_bytes_per_pixel(self) -> int:
        """Estimate of the memory for activations during inference, bytes for each input pixel (float32)."""
        return 1024

    def narrowed(self) -> Self:
        """Return a specification with the same receptive field and few channels.

        The receptive field is measured on this network (`tomostain.networks.tile_invariance`), which is then fast. At
        least 4 features should remain: normalisation over fewer channels removes most of the signal.
        """
        return self


class DiscriminatorSpec(NetworkSpec):
    """Arguments of a discriminator.

    Attributes
    ----------
    in_channels : int
        Channels of the judged image; for a conditional discriminator those of image and condition together.
    """

    in_channels: Count = 3

    @property
    def min_size_px(self) -> int:
        """Minimum side of an image that the discriminator can judge, px."""
        return 1


class Network(nn.Module):
    """A network that is built from its specification.

    Parameters
    ----------
    spec : NetworkSpec
        An instance of the class attribute `Spec`.

    Attributes
    ----------
    role : str
        What the network does: "generator", "discriminator" or "deformation".
    fusable : bool
        Layers of this network may be replaced on a GPU (`tomostain.networks.kernels.accelerate_cuda`). A class that
        sets it promises for each plain `nn.Sequential` in its networks: all layers run one after the other, each once
        in a pass, and nothing else calls, indexes, slices or reads them, or the values between them. Only two things
        may be read: the output of an `nn.LeakyReLU` in a loop over all layers, and convolutions and normalisations
        when the network is built. Subclasses do not inherit it, because they may override `forward`.
        Default: False.
    """

    Spec: ClassVar[type[NetworkSpec]] = NetworkSpec
    role: ClassVar[str] = "network"
    fusable: ClassVar[bool] = False

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "fusable" not in vars(cls):
            cls.fusable = False

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw weights from N(0, 0.02) and set biases to 0, as CycleGAN does.

        This covers convolutions and linear layers. Override it for other layers with random weights: `build_network`
        promises that the same generator gives the same weights.

        Parameters
        ----------
        generator : torch.Generator, optional
            Draws the weights; default: torch's global generator.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.02, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class Generator(Network):
    """A network that translates images (B, in_channels, H, W) into (B, out_channels, H, W), float in [-1, 1]."""

    Spec: ClassVar[type[NetworkSpec]] = GeneratorSpec
    role: ClassVar[str] = "generator"
    spec: GeneratorSpec

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__(spec)

    @property
    def size_multiple(self) -> int:
        """Rows and columns of the input must be multiples of this, px."""
        return self.spec.size_multiple

    @property
    def min_size_px(self) -> int:
        """Minimum rows and columns of the input, px."""
        return self.spec.min_size_px


class Discriminator(Network):
    """A network that scores images (B, in_channels, H, W), 1 meaning real (LSGAN). Subclasses implement `features`."""

    Spec: ClassVar[type[NetworkSpec]] = DiscriminatorSpec
    role: ClassVar[str] = "discriminator"
    spec: DiscriminatorSpec

    def __init__(self, spec: DiscriminatorSpec) -> None:
        super().__init__(spec)

    def features(self, image: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """Return the output of each activation, and the scores last.

        Parameters
        ----------
        image : Tensor, shape (B, C, H, W)
        condition : Tensor, shape (B, C', H, W), optional
            What a conditional discriminator sees in addition.
        """
        raise NotImplementedError

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the scores of `image`: the last of `features`."""
        return self.features(image, condition)[-1]
