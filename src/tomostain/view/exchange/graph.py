"""The computation of a model as one graph: from normalised µCT to colours, for other runtimes."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tomostain.errors import InputError
from tomostain.imaging.network_range import ct_to_network, histology_from_network
from tomostain.io.model_architecture import generator_without_memory
from tomostain.io.models import Model, ModelSpec
from tomostain.networks import Generator
from tomostain.networks.layers import EPSILON, ChannelNorm
from tomostain.networks.noise_input import add_noise
from tomostain.networks.receptive_field import round_up
from tomostain.view.exchange.shapes import CT, HISTOLOGY, NOISE, GraphShapes

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

OPSET = 18
"""The version of ONNX's operators: that of ONNX 1.13, the oldest that torch's exporter writes."""
NEEDS = "needs the packages of an extra: pip install 'tomostain[exchange]'"


class ExchangeNetwork(nn.Module):
    """The generator of a model with the scaling of its input and output, in float32 on the CPU.

    Parameters
    ----------
    model : Model

    Attributes
    ----------
    shapes : GraphShapes
        The sizes of the inputs.

    Raises
    ------
    InputError
        If ``model.yaml`` states a network that is not possible.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.spec: ModelSpec = model.spec
        network = generator_without_memory(model.path, model.spec.generator)
        network.load_state_dict(model.state, assign=True)
        self.network: Generator = _with_plain_norms(network.float().eval().requires_grad_(False))
        multiple = self.network.size_multiple
        minimum = round_up(max(multiple, self.network.min_size_px), multiple)
        if not _can_normalise(self.network, minimum):
            minimum += multiple
        self.shapes = GraphShapes(self.spec.ct_slices, self.spec.noise_channels, multiple, minimum)

    def forward(self, ct: Tensor, noise: Tensor | None = None) -> Tensor:
        """Stain tiles.

        Parameters
        ----------
        ct : Tensor of float32, shape (B, slices, H, W)
            Normalised µCT: background 10000, bone 30000.
        noise : Tensor of float32, shape (B, noise channels, H, W), optional
            For a model with a noise input.

        Returns
        -------
        Tensor of float32, shape (B, 3, H, W)
            Colours in [0, 255], not rounded.
        """
        grey = ct_to_network(ct, self.spec.ct_window)
        grey = -grey if self.spec.inverted_ct else grey
        if self.spec.ct_slices == 1 and self.spec.in_channels > 1:
            grey = grey.expand(-1, self.spec.in_channels, -1, -1)
        return histology_from_network(self.network(add_noise(grey, noise)))


def _can_normalise(network: Generator, side: int) -> bool:
    """Return whether a square is large enough: instance normalisation needs more than one pixel at each resolution."""
    if not any(isinstance(module, nn.InstanceNorm2d) for module in network.modules()):
        return True
    try:
        with torch.inference_mode():
            network(torch.zeros(1, network.spec.in_channels, side, side))
    except ValueError:  # as torch reports it
        return False
    return True


class _PlainChannelNorm(nn.Module):
    """`ChannelNorm` without a choice of the memory format, in operations that ONNX has."""

    def __init__(self, norm: ChannelNorm) -> None:
        super().__init__()
        self.gain, self.bias = (
            nn.Parameter(each.data[:, None, None], requires_grad=False) for each in (norm.gain, norm.bias)
        )

    def forward(self, image: Tensor) -> Tensor:
        centred = image - image.mean(dim=1, keepdim=True)
        variance = (centred * centred).mean(dim=1, keepdim=True)
        return centred / torch.sqrt(variance + EPSILON) * self.gain + self.bias


def _with_plain_norms(network: Generator) -> Generator:
    """Return a copy of a network whose channel normalisations can be written as ONNX."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, ChannelNorm):
                setattr(module, name, _PlainChannelNorm(child))
    return network


def trace_graph(network: ExchangeNetwork) -> "ONNXProgram":
    """Return the graph of a network as ONNX, with any batch and any size that the network takes.

    Parameters
    ----------
    network : ExchangeNetwork

    Raises
    ------
    InputError
        If the packages are missing, or the network has an operation that ONNX cannot express.
    """
    require_onnx()
    shapes = network.shapes
    # An example with equal sides, or of the smallest size, could be taken for the only possible one.
    rows = shapes.fitting(2 * shapes.minimum)
    sizes = (rows, rows + shapes.multiple)
    height, width = (_side(name, shapes) for name in ("height", "width"))
    axes = {0: torch.export.Dim("batch", min=1, max=2**16), 2: height, 3: width}
    inputs = [torch.zeros(2, shapes.slices, *sizes)]
    if shapes.noise_channels:
        inputs.append(torch.zeros(2, shapes.noise_channels, *sizes))
    names = [CT, NOISE][: len(inputs)]
    try:
        with _quiet_exporter(), torch.no_grad():
            program = torch.onnx.export(
                network,
                tuple(inputs),
                dynamo=True,
                dynamic_shapes=dict.fromkeys(names, axes),
                input_names=names,
                output_names=[HISTOLOGY],
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # of several libraries, without a common class
        reason = " ".join(str(error).split())[:200]
        name = network.spec.generator.get("name", "")
        raise InputError(f"network '{name}': cannot be written as ONNX ({type(error).__name__}: {reason})") from error
    assert program is not None
    return program


def _side(name: str, shapes: GraphShapes) -> "torch.export.Dim":
    """Return the symbol of the rows or columns: a multiple of a number."""
    symbol = torch.export.Dim(name, min=max(1, shapes.minimum // shapes.multiple), max=2**16)
    return symbol if shapes.multiple == 1 else shapes.multiple * symbol


def require_onnx() -> None:
    """Raise `InputError` if the packages for ONNX are not installed."""
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError:
        raise InputError(f"writing ONNX {NEEDS}") from None
    del onnx, onnxruntime, onnxscript


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide what the exporter reports about packages that it does not find, and about its own deprecated calls."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        logger.setLevel(level)
