"""The objective: a table {term: weight} over what one training step knows.

A term is a small function of the record of a step. The record computes fakes, reconstructions and identities when they
are first asked for, so that a recipe pays for what its terms need and for nothing else: without cycles the reverse
generator is never run.

To add a loss, write its function in `losses.py`, one line in `TERMS`, and its weight in a recipe.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from tomostain.train import losses


@dataclass
class Networks:
    """The networks of a recipe; those it does without are None.

    Attributes
    ----------
    g_xy, g_yx : nn.Module
        Generators from µCT to histology and back.
    d_y, d_x : nn.Module
        Discriminators of histology and of µCT. `conditional` says whether `d_y` sees the µCT as well.
    conditional : bool
    field : nn.Module
        Where the histology lies relative to the µCT; trained with the generators.
    average : nn.Module
        G_xy with the running average of its weights; it is not trained, but stains.
    """

    g_xy: nn.Module
    g_yx: nn.Module | None = None
    d_y: nn.Module | None = None
    d_x: nn.Module | None = None
    conditional: bool = False
    field: nn.Module | None = None
    average: nn.Module | None = None

    @property
    def staining(self) -> nn.Module:
        """What stains: G_xy, or its average."""
        return self.g_xy if self.average is None else self.average

    def generators(self) -> dict[str, nn.Module]:
        """Return the generators there are, by name."""
        return {name: net for name in ("g_xy", "g_yx") if (net := getattr(self, name)) is not None}

    def discriminators(self) -> dict[str, nn.Module]:
        """Return the discriminators there are, by name."""
        return {name: net for name in ("d_y", "d_x") if (net := getattr(self, name)) is not None}


class Step:
    """What one training step knows: a batch, and what the networks make of it, computed when first asked for.

    Attributes
    ----------
    x : Tensor (B, 1 or 3, H, W)
        µCT in [-1, 1].
    y : Tensor (B, 3, H, W)
        Histology in [-1, 1].
    mask : Tensor (B, 1, H, W)
        1 where they correspond.
    total : function
        Sums a tensor over the processes that share a batch.
    """

    def __init__(
        self,
        networks: Networks,
        x: Tensor,
        y: Tensor,
        mask: Tensor,
        total: Callable[[Tensor], Tensor] = lambda value: value,
    ) -> None:
        self.networks, self.total = networks, total
        self.x, self.y, self.mask = x, y, mask

    @cached_property
    def fake_y(self) -> Tensor:
        """G_xy(x): virtual histology."""
        return self.networks.g_xy(self.x)

    @cached_property
    def fake_x(self) -> Tensor:
        """G_yx(y): virtual µCT."""
        return self._reverse(self.y)

    @cached_property
    def cycled_x(self) -> Tensor:
        """G_yx(G_xy(x))."""
        return self._reverse(self.fake_y)

    @cached_property
    def cycled_y(self) -> Tensor:
        """G_xy(G_yx(y))."""
        return self.networks.g_xy(self.fake_x)

    @cached_property
    def same_x(self) -> Tensor:
        """G_yx(x)."""
        return self._reverse(self.x)

    @cached_property
    def same_y(self) -> Tensor:
        """G_xy(y)."""
        return self.networks.g_xy(self.y)

    @property
    def scores_fake_y(self) -> Tensor:
        """D_y(G_xy(x)), given x where it is conditional."""
        return self.features_fake_y[-1]

    @cached_property
    def features_fake_y(self) -> list[Tensor]:
        """What D_y sees in G_xy(x), layer by layer; its scores last."""
        return self._judged(self.fake_y)

    @cached_property
    def features_y(self) -> list[Tensor]:
        """What D_y sees in y, layer by layer."""
        return self._judged(self.y)

    @cached_property
    def scores_fake_x(self) -> Tensor:
        """D_x(G_yx(y))."""
        assert self.networks.d_x is not None
        return self.networks.d_x(self.fake_x)

    @cached_property
    def field(self) -> Tensor:
        """The displacement φ of the histology, px; where it lies is no business of the generator's texture."""
        assert self.networks.field is not None
        return self.networks.field(self.fake_y.detach(), self.y)

    def let_go(self) -> None:
        """Forget all but the fakes, and how those were made: the discriminators ask for no more."""
        fakes: dict[str, Any] = {
            name: self.__dict__[name].detach() for name in ("fake_y", "fake_x") if name in self.__dict__
        }
        for name in [name for name in self.__dict__ if isinstance(getattr(Step, name, None), cached_property)]:
            del self.__dict__[name]
        self.__dict__.update(fakes)

    def _judged(self, image: Tensor) -> list[Tensor]:
        # Any: for the type checker, a module's attributes are tensors.
        judge: Any = self.networks.d_y
        return judge.features(image, *([self.x] if self.networks.conditional else []))

    def _reverse(self, image: Tensor) -> Tensor:
        assert self.networks.g_yx is not None
        return self.networks.g_yx(image)


@dataclass(frozen=True)
class Term:
    """One term of the objective.

    Attributes
    ----------
    compute : function of Step
        Returns the loss, a tensor with one number.
    reverse : bool
        Whether it needs the reverse generator.
    discriminators : tuple of str
        The discriminators that it needs.
    field : bool
        Whether it needs the displacement field.
    paired : bool
        Whether it holds what is generated against the other half of the pair.
    """

    compute: Callable[[Step], Tensor]
    reverse: bool = False
    discriminators: tuple[str, ...] = ()
    field: bool = False
    paired: bool = False


TERMS: dict[str, Term] = {
    "adversarial": Term(lambda s: losses.adversarial(s.scores_fake_y, s.scores_fake_x), True, ("d_y", "d_x")),
    "cycle": Term(lambda s: losses.cycle(s.cycled_x, s.x, s.cycled_y, s.y, s.mask), True),
    "identity": Term(lambda s: losses.identity(s.same_x, s.x, s.same_y, s.y, s.mask), True),
    "pixelwise": Term(lambda s: losses.pixelwise(s.fake_y, s.y, s.fake_x, s.x, s.mask), True, paired=True),
    "greyscale": Term(lambda s: losses.greyscale(s.fake_x, s.mask), True),
    "conditional_adversarial": Term(
        lambda s: losses.conditional_adversarial(s.scores_fake_y), False, ("d_y",), paired=True
    ),
    "adversarial_y": Term(lambda s: losses.conditional_adversarial(s.scores_fake_y), False, ("d_y",)),
    "feature_matching": Term(
        lambda s: losses.feature_matching(s.features_y[:-1], s.features_fake_y[:-1], s.mask),
        False,
        ("d_y",),
        paired=True,
    ),
    "settled": Term(
        lambda s: losses.settled(s.fake_y, s.y, s.fake_x, s.x, s.mask, s.field, s.total),
        True,
        field=True,
        paired=True,
    ),
    "settled_l1": Term(lambda s: losses.settled_l1(s.fake_y, s.y, s.mask, s.field, s.total), field=True, paired=True),
    "smoothness": Term(lambda s: losses.smoothness(s.field), field=True),
    "tolerant": Term(lambda s: losses.tolerant(s.fake_y, s.y, s.mask), paired=True),
    "l1": Term(lambda s: losses.l1(s.fake_y, s.y, s.mask), paired=True),
}


def compute_terms(step: Step, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Return each term whose weight is not zero, unweighted; the others are not computed."""
    return {name: TERMS[name].compute(step) for name, weight in weights.items() if weight}


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return Σ weight · term: eq. (4), (7) or (10), as the weights have it."""
    parts = [weights[name] * term for name, term in terms.items()]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
