"""The networks of a recipe, and the record of one training step that loss terms read."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from tomostain.deprecation import renamed_method
from tomostain.networks.noise_input import add_noise


class _Judge(Protocol):
    """A discriminator as a loss uses it."""

    def features(self, image: Tensor, *condition: Tensor) -> list[Tensor]:
        """Return the output of each layer; the scores last."""


@dataclass
class Networks:
    """The networks of a recipe. Those that its objective does not need are None.

    Attributes
    ----------
    g_xy, g_yx : nn.Module
        Generators from µCT to histology and back.
    d_y, d_x : nn.Module
        Discriminators of histology and of µCT.
    conditional : bool
        Whether `d_y` also sees the µCT.
    deformation : nn.Module
        Predicts the displacement of the histology relative to the µCT; trained with the generators.
    average : nn.Module
        G_xy with the running average of its weights. It is not trained, but it stains.
    frozen : dict of str to nn.Module
        Fixed networks of loss terms, by name. They are not saved.
    trained : dict of str to nn.Module
        Networks of loss terms that are trained with the generators, by name. They are saved.
    """

    g_xy: nn.Module
    g_yx: nn.Module | None = None
    d_y: nn.Module | None = None
    d_x: nn.Module | None = None
    conditional: bool = False
    deformation: nn.Module | None = None
    average: nn.Module | None = None
    frozen: dict[str, nn.Module] = field(default_factory=dict)
    trained: dict[str, nn.Module] = field(default_factory=dict)

    @property
    def staining(self) -> nn.Module:
        """The network that stains: G_xy, or its average."""
        return self.g_xy if self.average is None else self.average

    def generators(self) -> dict[str, nn.Module]:
        """Return the existing generators by name."""
        return {name: net for name in ("g_xy", "g_yx") if (net := getattr(self, name)) is not None}

    def discriminators(self) -> dict[str, nn.Module]:
        """Return the existing discriminators by name."""
        return {name: net for name in ("d_y", "d_x") if (net := getattr(self, name)) is not None}

    def optimised(self, which: str) -> dict[str, nn.Module]:
        """Return the networks that one optimiser trains, by their names in a checkpoint.

        Parameters
        ----------
        which : {"generators", "discriminators"}
            The generators are trained together with the deformation and the networks of loss terms.
        """
        if which == "discriminators":
            return self.discriminators()
        deformation = {} if self.deformation is None else {"field": self.deformation}
        return self.generators() | deformation | {f"loss.{name}": net for name, net in self.trained.items()}


class Step:
    """One training step: a batch and the outputs of the networks, each computed when it is first read.

    Attributes
    ----------
    x : Tensor (B, 1, 3 or ct_slices, H, W)
        µCT in [-1, 1].
    y : Tensor (B, 3, H, W)
        Histology in [-1, 1].
    mask : Tensor (B, 1, H, W)
        1 where they correspond.
    total : function
        Sums a tensor over the processes that share a batch.
    noise : Tensor (B, N, H, W) or None
        Further channels of the input of G_xy, if the recipe has noise.
    planned : collection of str
        Outputs that the terms of the recipe will read (`Term.outputs`). Those of one network are computed together, by
        one pass over a larger batch: fewer and larger operators, the same values.
    """

    def __init__(
        self,
        networks: Networks,
        x: Tensor,
        y: Tensor,
        mask: Tensor,
        total: Callable[[Tensor], Tensor] = lambda value: value,
        *,
        noise: Tensor | None = None,
        planned: Collection[str] = (),
    ) -> None:
        self.networks, self.total, self.planned = networks, total, planned
        self.x, self.y, self.mask, self.noise = x, y, mask, noise

    @cached_property
    def fake_y(self) -> Tensor:
        """G_xy(x): virtual histology."""
        return self._together(self._forward, fake_y=self.x, same_y=self.y)

    @cached_property
    def fake_x(self) -> Tensor:
        """G_yx(y): virtual µCT."""
        cycled = {"cycled_x": self.fake_y} if "cycled_x" in self.planned else {}
        return self._together(self._reverse, fake_x=self.y, same_x=self.x, **cycled)

    @cached_property
    def cycled_x(self) -> Tensor:
        """G_yx(G_xy(x))."""
        return self._planned_with("fake_x", "cycled_x") if "cycled_x" in self.planned else self._reverse(self.fake_y)

    @cached_property
    def cycled_y(self) -> Tensor:
        """G_xy(G_yx(y))."""
        return self._forward(self.fake_x)

    @cached_property
    def same_x(self) -> Tensor:
        """G_yx(x)."""
        return self._planned_with("fake_x", "same_x") if "same_x" in self.planned else self._reverse(self.x)

    @cached_property
    def same_y(self) -> Tensor:
        """G_xy(y)."""
        return self._planned_with("fake_y", "same_y") if "same_y" in self.planned else self._forward(self.y)

    @cached_property
    def other_fake_y(self) -> Tensor:
        """G_xy(x) with other noise: that of the batch, displaced by half a patch, where it is not correlated."""
        assert self.noise is not None
        shifts = (self.noise.shape[2] // 2, self.noise.shape[3] // 2)
        return self.networks.g_xy(add_noise(self.x, self.noise.roll(shifts, (2, 3))))

    @property
    def scores_fake_y(self) -> Tensor:
        """D_y(G_xy(x)), given x where it is conditional."""
        return self.features_fake_y[-1]

    @cached_property
    def features_fake_y(self) -> list[Tensor]:
        """Output of each layer of D_y for G_xy(x); the scores last."""
        return self._judged(self.fake_y)

    @cached_property
    def features_y(self) -> list[Tensor]:
        """Output of each layer of D_y for y."""
        return self._judged(self.y)

    @cached_property
    def scores_fake_x(self) -> Tensor:
        """D_x(G_yx(y))."""
        assert self.networks.d_x is not None
        return self.networks.d_x(self.fake_x)

    @cached_property
    def displacement(self) -> Tensor:
        """Displacement φ of the histology (B, 2, h, w), px. No gradient flows to the generator through it."""
        assert self.networks.deformation is not None
        return self.networks.deformation(self.fake_y.detach(), self.y)

    def network(self, name: str) -> nn.Module:
        """Return a network that a loss term declares as `frozen` or `trained`."""
        declared = self.networks.frozen | self.networks.trained
        if name not in declared:
            raise KeyError(f"no active term declares a network '{name}'; declared: {', '.join(declared) or 'none'}")
        return declared[name]

    def keep_fakes_only(self) -> None:
        """Discard everything but the detached fakes, which the discriminators need."""
        values = self.__dict__
        fakes: dict[str, Tensor] = {name: values[name].detach() for name in ("fake_y", "fake_x") if name in values}
        for name in [name for name in self.__dict__ if isinstance(getattr(Step, name, None), cached_property)]:
            del self.__dict__[name]
        self.__dict__.update(fakes)

    let_go = renamed_method("keep_fakes_only")

    def _judged(self, image: Tensor) -> list[Tensor]:
        judge = cast(_Judge, self.networks.d_y)
        return judge.features(image, *([self.x] if self.networks.conditional else []))

    def _together(self, network: Callable[[Tensor], Tensor], **inputs: Tensor) -> Tensor:
        """Return the output for the first input, and keep those of the other inputs that are planned."""
        first = next(iter(inputs))
        used = {name: image for name, image in inputs.items() if name == first or name in self.planned}
        if len(used) == 1:
            return network(used[first])
        outputs = network(torch.cat(list(used.values()))).chunk(len(used))
        self.__dict__.update(zip(used, outputs, strict=True))  # as `cached_property` does
        return outputs[0]

    def _planned_with(self, fake: str, name: str) -> Tensor:
        """Return a planned output, which is computed together with a fake."""
        getattr(self, fake)
        return cast(Tensor, self.__dict__[name])

    def _forward(self, image: Tensor) -> Tensor:
        noise = self.noise
        if noise is not None and len(image) > len(noise):
            noise = noise.repeat(len(image) // len(noise), 1, 1, 1)
        return self.networks.g_xy(add_noise(image, noise))

    def _reverse(self, image: Tensor) -> Tensor:
        assert self.networks.g_yx is not None
        return self.networks.g_yx(image)
