"""Tile invariance: whether the output at a pixel depends only on a bounded neighbourhood, by measurement.

A tile-invariant generator gives the same output for a pixel in any tile that contains its neighbourhood. Exact tiles
(`tomostain.tiling.exact`) need it. Instance normalisation, global attention, and positions relative to the image border
break it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from tomostain.networks.base import GeneratorSpec
from tomostain.networks.build import build_network
from tomostain.networks.receptive_field import reach_px, round_up
from tomostain.networks.registry import parse_generator_spec

# Relative difference in float64 that rounding explains: sums are computed in another order for another size.
_TOLERANCE = 1e-9
_MIN_STRIP_PX = 16


def is_tile_invariant(spec: Mapping[str, Any] | GeneratorSpec, *, volume_statistics: bool = False) -> bool:
    """Return whether the output of a generator at a pixel depends only on a bounded neighbourhood.

    Measured once for each specification, on its narrowed form: the network runs on a random image and on the same image
    embedded in a larger one.

    Parameters
    ----------
    spec : mapping or GeneratorSpec
    volume_statistics : bool
        Instance normalisation uses fixed statistics of a whole volume, so it does not depend on the tile.

    Raises
    ------
    InputError
        If the specification is not valid.

    Examples
    --------
    >>> resnet = {"name": "resnet", "blocks": 1}
    >>> is_tile_invariant(resnet), is_tile_invariant(resnet | {"norm": "channel"})
    (False, True)
    >>> is_tile_invariant(resnet, volume_statistics=True)
    True
    """
    return measure_reach_px(spec, volume_statistics=volume_statistics) is not None


def measure_reach_px(spec: Mapping[str, Any] | GeneratorSpec, *, volume_statistics: bool = False) -> int | None:
    """Return the reach of a generator as `reach_px`, px; None if it is not tile-invariant.

    Parameters and errors as in `is_tile_invariant`.
    """
    narrowed = parse_generator_spec(spec).narrowed()
    return _measure(narrowed.model_dump_json(), volume_statistics)


@lru_cache(maxsize=32)
def _measure(spec_json: str, volume_statistics: bool) -> int | None:
    """Measure a registered generator; its specification is given as JSON because fields may not be hashable."""
    spec = parse_generator_spec(json.loads(spec_json))
    with torch.inference_mode(), _unchanged_random_state():
        network = build_network(spec, torch.Generator().manual_seed(0)).eval()
        if volume_statistics:
            _remove_instance_norm(network)
        elif any(isinstance(module, nn.InstanceNorm2d) for module in network.modules()):
            return None  # it averages over the whole tile: a measurement would only take time
        reach = reach_px(network, spec.in_channels, spec.size_multiple, spec.min_size_px)
        if reach is None:
            return None
        _redraw_weights(network)
        return reach if _agrees_in_a_larger_image(network.double(), spec, reach) else None


@contextmanager
def _unchanged_random_state() -> Iterator[None]:
    """Restore torch's global random state on the CPU at the end: constructors of layers draw from it."""
    with torch.random.fork_rng(devices=[]):
        yield


def _remove_instance_norm(network: nn.Module) -> None:
    """Replace instance normalisation by the identity: with fixed statistics it acts on each pixel alone."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.InstanceNorm2d):
            parent, _, attribute = name.rpartition(".")
            setattr(network.get_submodule(parent), attribute, nn.Identity())


def _redraw_weights(network: nn.Module) -> None:
    """Draw all parameters so that the signal keeps its scale and no branch is switched off by zeros."""
    draws = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.normal_(0.0, parameter[0].numel() ** -0.5, generator=draws)
        else:
            parameter.uniform_(0.2, 0.8, generator=draws)


def _agrees_in_a_larger_image(network: nn.Module, spec: GeneratorSpec, reach: int) -> bool:
    """Compare the outputs for a crop and for the image around it, where the crop holds the whole neighbourhood."""
    multiple = spec.size_multiple
    width = round_up(max(multiple, spec.min_size_px, _MIN_STRIP_PX), multiple)
    halo, around = round_up(reach, multiple), round_up(max(spec.min_size_px, _MIN_STRIP_PX), multiple)
    length = round_up(max(2 * halo + multiple, spec.min_size_px), multiple)
    draws = torch.Generator().manual_seed(2)
    for axis in (2, 3):
        size = [1, spec.in_channels, width, width]
        size[axis] = length + 3 * around
        image = torch.rand(size, generator=draws, dtype=torch.float64) * 2 - 1
        # The surroundings differ in brightness, so averages over the whole image differ.
        image.narrow(axis, 0, around).add_(1)
        crop = image.narrow(axis, around, length).contiguous()
        inner, span = halo, length - 2 * halo
        alone: Tensor = network(crop).narrow(axis, inner, span)
        within: Tensor = network(image).narrow(axis, around + inner, span)
        if float((alone - within).abs().max()) > _TOLERANCE * max(1.0, float(alone.abs().max())):
            return False
    return True
