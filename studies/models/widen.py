"""Write a model of the former window of grey values as the same model in the wide window.

    python -m studies.models.widen MODEL OUT

MODEL is a U-Net of the recipe `tomostain-cpu` before 2026-11-28: window [0, 40000], twelve knots of the grey encoding.
OUT has the window [0, 60000] and two more knots. Both give the same colours, except at the borders of an image: the
encoding is piecewise linear, so the weights of the first layers absorb the new scale and the former clipping. It is a
start for `studies.models.pretrain --init`, which then learns to distinguish grey values above 40000.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from tomostain.imaging.network_range import ct_from_network
from tomostain.io.models import Model, ModelExtras, load_model, save_model
from tomostain.networks.build import build_network
from tomostain.tiling.ct_window import DEFAULT_CT_WINDOW
from tomostain.train import Recipe, load_recipe

RECIPE = "tomostain-cpu"
# The layers that see the encoded image, with the number of its first channel in their input.
_FIRST, _DETAIL = "first", "head.fine.0"


def widened(weight: Tensor, bias: Tensor, knots: Tensor, channel: int) -> tuple[Tensor, Tensor]:
    """Return the weights of a layer that sees the grey value and its encoding, for the wide window.

    Parameters
    ----------
    weight : Tensor, shape (O, C, k, k)
    bias : Tensor, shape (O,)
    knots : Tensor, shape (K,)
        Of the wide window.
    channel : int
        Of the grey value in the input; the encoding follows.
    """
    # Both windows begin at 0: x = scale · x' + scale - 1 in the former window is x' in the wide one.
    scale = load_recipe(RECIPE).ct_window[1] / DEFAULT_CT_WINDOW[1]
    more = _added(knots)
    grey, hats = weight[:, channel : channel + 1], weight[:, channel + 1 : channel + 1 + len(knots) - more]
    # Where the former window ends, its grey value and its last hat stay constant.
    beyond = [hats[:, -1:] - grey * float(scale * knot + scale - 2) for knot in knots[-more:]]
    rest = weight[:, channel + 1 + hats.shape[1] :]
    parts = [weight[:, :channel], scale * grey, hats, *beyond, rest]
    return torch.cat(parts, dim=1), bias + (scale - 1) * grey.sum(dim=(1, 2, 3))


def _added(knots: Tensor) -> int:
    """Return the number of knots above the former window."""
    wide = load_recipe(RECIPE).ct_window
    return int((ct_from_network(knots, wide) > DEFAULT_CT_WINDOW[1] + 10).sum())


def widen(model: Model, recipe: Recipe) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Return weights and architecture of a model in the wide window."""
    spec = recipe.generator_spec()
    state = build_network(spec).state_dict()
    new = {name: model.state[name] for name in state if not name.startswith("encoding.")}
    new |= {name: state[name] for name in state if name.startswith("encoding.")}
    knots = state["encoding.knots"]
    for layer in (_FIRST, _DETAIL):
        weight, bias = model.state[f"{layer}.weight"], model.state[f"{layer}.bias"]
        channel = 0 if layer == _FIRST else state[f"{layer}.weight"].shape[1] - len(knots) - 1
        new[f"{layer}.weight"], new[f"{layer}.bias"] = widened(weight, bias, knots, channel)
    return new, spec


def main() -> None:
    """Write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    model, recipe = load_model(options.model), load_recipe(RECIPE)
    state, generator = widen(model, recipe)
    spec = model.spec.model_copy(update={"generator": generator, "ct_window": recipe.ct_window})
    extras = ModelExtras(recipe=recipe.to_yaml(), discriminators=model.discriminators)
    save_model(options.out, spec, state, training_reference=model.training_reference, extras=extras)


if __name__ == "__main__":
    main()
