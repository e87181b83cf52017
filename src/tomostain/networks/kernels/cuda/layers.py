"""Layers that `tomostain.networks.kernels.cuda.convert` puts into networks on a GPU. They have no additional weights.

Where the programs cannot run, each computes the same with layers of torch.
"""

from torch import Tensor, nn
from torch.nn import functional

from tomostain.networks.generators import ResidualBlock
from tomostain.networks.kernels.cuda.functions import fused
from tomostain.networks.kernels.cuda.launch import autocast_dtype, can_run
from tomostain.networks.kernels.cuda.plan import LayerPlan


class FusedLayer(nn.Module):
    """Instance normalisation, residual, activation, enlarging and reflection padding, as far as a `LayerPlan` has them.

    Parameters
    ----------
    plan : LayerPlan
    convolution : nn.Conv2d, optional
        The preceding convolution, if it leaves out its bias (`CudaConv2d`).
    """

    def __init__(self, plan: LayerPlan, convolution: nn.Conv2d | None = None) -> None:
        super().__init__()
        self.plan = plan
        # In a tuple, so that its weights do not appear twice among those of the network.
        self._convolution = () if convolution is None else (convolution,)

    def forward(self, image: Tensor, residual: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Return the padded result; with ``plan.plain`` also the result without padding."""
        if not can_run(image):
            return _by_torch(image, self.plan, residual)
        bias = self._convolution[0].bias if self._convolution else None
        padded, plain = fused(image, self.plan, residual=residual, bias=bias, dtype=autocast_dtype(image))
        return padded if plain is None else (padded, plain)

    def extra_repr(self) -> str:
        """Return the plan."""
        return str(self.plan)


class FusedLeakyReLU(nn.LeakyReLU):
    """A `FusedLayer` that ends with a leaky ReLU: discriminators return the output of each `nn.LeakyReLU`."""

    def __init__(self, plan: LayerPlan, convolution: nn.Conv2d | None = None) -> None:
        super().__init__(plan.slope)
        self.layer = FusedLayer(plan, convolution)

    def forward(self, image: Tensor) -> Tensor:
        """Return the result."""
        return self.layer(image)


def _by_torch(image: Tensor, plan: LayerPlan, residual: Tensor | None) -> Tensor | tuple[Tensor, Tensor]:
    """Compute a plan with layers of torch."""
    if plan.eps is not None:
        image = functional.instance_norm(image, eps=plan.eps)
    if residual is not None:
        image = image + residual
    if plan.slope == 0:
        image = functional.relu(image)
    elif plan.slope != 1:
        image = functional.leaky_relu(image, plan.slope)
    padded = image
    if plan.up != 1:
        padded = functional.interpolate(padded, scale_factor=plan.up)
    if plan.pad:
        padded = functional.pad(padded, (plan.pad,) * 4, mode="reflect")
    return (padded, image) if plan.plain else padded


class CudaConv2d(nn.Conv2d):
    """A convolution whose bias can be left out.

    Attributes
    ----------
    is_followed_by_norm : bool
        An instance normalisation follows, which removes the bias.
    transformed : Tensor or None
        The kernels in the form that a subclass uses, if the weights will not change again.
    """

    is_followed_by_norm: bool = False
    transformed: Tensor | None = None

    @property
    def used_bias(self) -> Tensor | None:
        """The bias, unless it is left out."""
        return None if self.is_followed_by_norm else self.bias

    def transform(self) -> Tensor:
        """Return the kernels in the form that this class uses."""
        return self.weight

    def freeze(self) -> None:
        """Transform the kernels once; call this only if the weights will not change again."""
        self.transformed = self.transform().detach()

    def forward(self, image: Tensor) -> Tensor:
        """Return the convolution of an image (B, C, H, W)."""
        bias = self.used_bias if can_run(image) else self.bias
        return functional.conv2d(image, self.weight, bias, self.stride, self.padding, self.dilation, self.groups)


class FusedResidualBlock(ResidualBlock):
    """A `ResidualBlock` whose addition, and the padding that follows, are one `FusedLayer`.

    Between blocks, the value is a pair: the padded image for the first convolution, and the image for the addition.

    Parameters
    ----------
    layers : nn.Sequential
        From the first convolution to the last, or to the layer after it.
    join : FusedLayer
        Adds the input of the block.
    """

    def __init__(self, layers: nn.Sequential, join: FusedLayer) -> None:
        nn.Module.__init__(self)
        self.layers, self.join = layers, join
        self.begin = FusedLayer(LayerPlan(pad=1))

    def forward(self, image: Tensor | tuple[Tensor, Tensor]) -> Tensor | tuple[Tensor, Tensor]:  # type: ignore[override]
        """Return input + residual, in the form that the next layer takes."""
        padded, plain = image if isinstance(image, tuple) else (self.begin(image), image)
        return self.join(self.layers(padded), plain)
