"""The registry of loss terms, and the terms of this package.

A term is a function of a `Step`. The step computes fakes, reconstructions and identities when they are first read, so
that a recipe pays only for what its terms need: without cycles the reverse generator never runs. Everything that a
recipe must know about a term is an attribute of its `Term`.

To add a loss, write one decorated function and give its weight in a recipe (docs/how-to/add-a-loss.md)::

    @register_term("edges", paired=True)
    def edges(step: Step) -> Tensor:
        return (gradient(step.fake_y) - gradient(step.y)).abs().mean()

Another package adds a loss with an entry point whose name is the name of the term. Its module is imported when a recipe
asks for a name that is not registered yet::

    [project.entry-points."tomostain.losses"]
    edges = "my_package.losses"
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Literal, TypedDict, Unpack

from torch import Tensor, nn

from tomostain.config import suggest
from tomostain.errors import DeprecatedNameWarning, InputError, warn_user
from tomostain.networks.perceptual import MIN_SIDE_PX, PerceptualDistance
from tomostain.train import losses
from tomostain.train.step import Step

ENTRY_POINTS = "tomostain.losses"

Compute = Callable[[Step], Tensor]
Build = Callable[..., nn.Module]


@dataclass(frozen=True)
class Term:
    """One term of the objective, with what it needs from a recipe.

    Attributes
    ----------
    compute : function of Step
        Returns the loss, a tensor with one number.
    needs_reverse : bool
        Whether it needs the reverse generator G_yx.
    discriminators : tuple of str
        The discriminators that it needs, of "d_y" and "d_x".
    needs_deformation : bool
        Whether it needs the predicted displacement of the histology.
    paired : bool
        Whether it compares an image with the other half of its pair.
    judged : {"histology", "pair"} or None
        For adversarial terms: the input of D_y, histology alone or together with its µCT. A recipe has one such term.
    min_side_px : int
        Minimum side of a patch, px.
    channels : int or None
        Value of `in_channels` that it needs; None: any.
    whole_batch : bool
        Whether its value depends on the whole batch, so that a batch cannot be accumulated in parts.
    needs_noise : bool
        Whether it needs a noise input (`noise` of the recipe).
    compares_colours : bool
        Whether it is an ℓ1 distance between the pixels of the output and of the histology.
    regulariser : bool
        Whether it only restricts the deformation: another term must fit it.
    frozen : mapping of str to function
        Fixed networks that it needs: name → function without arguments that builds the network. Each is built once,
        with the global random state of the run, and moved to the device of the training. It is not saved.
    trained : mapping of str to function
        Networks that are trained with the generators and saved in checkpoints: name → class or function that builds
        one. Its keyword arguments come from the key `loss_networks` of the recipe.
    outputs : tuple of str
        Which of ``same_x``, ``same_y`` and ``cycled_x`` it reads. A step then computes them together with the fakes.
    capturable : bool
        Whether a CUDA graph of the step may contain it (`tomostain.train.step_graph`): it reads no value from the
        device, and nothing in Python changes from step to step, such as a counter or a random number. Default: True
        for the terms of this package, False for others. With a term that is not capturable, ``compile: auto`` launches
        kernels one by one.
    """

    compute: Compute
    needs_reverse: bool = False
    discriminators: tuple[str, ...] = ()
    needs_deformation: bool = False
    paired: bool = False
    judged: Literal["histology", "pair"] | None = None
    min_side_px: int = 1
    channels: int | None = None
    whole_batch: bool = False
    needs_noise: bool = False
    compares_colours: bool = False
    regulariser: bool = False
    frozen: Mapping[str, Callable[[], nn.Module]] = field(default_factory=dict)
    trained: Mapping[str, Build] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    capturable: bool = False


class TermOptions(TypedDict, total=False):
    """Keyword arguments of `register_term`: the attributes of `Term`."""

    needs_reverse: bool
    discriminators: tuple[str, ...]
    needs_deformation: bool
    paired: bool
    judged: Literal["histology", "pair"] | None
    min_side_px: int
    channels: int | None
    whole_batch: bool
    needs_noise: bool
    compares_colours: bool
    regulariser: bool
    frozen: Mapping[str, Callable[[], nn.Module]]
    trained: Mapping[str, Build]
    outputs: tuple[str, ...]
    capturable: bool


TERMS: dict[str, Term] = {}
"""All registered terms by name."""

RENAMED = MappingProxyType(
    {"settled": "registered_pixelwise", "settled_l1": "registered_l1", "tolerant": "shift_tolerant_l1"}
)
"""Older names of terms, in recipes and in runs."""


def register_term(name: str, **options: Unpack[TermOptions]) -> Callable[[Compute], Compute]:
    """Register a function of a `Step` as a loss term; use as a decorator.

    Parameters
    ----------
    name : str
        Key of the term in the table `terms` of a recipe.
    **options
        Attributes of `Term`.

    Raises
    ------
    ValueError
        If another function has this name.

    Examples
    --------
    >>> @register_term("darkness")
    ... def darkness(step):
    ...     return -step.fake_y.mean()
    >>> find_term("darkness").paired
    False
    >>> del TERMS["darkness"]
    """

    def decorate(compute: Compute) -> Compute:
        if name in TERMS or name in RENAMED:
            raise ValueError(f"a loss term '{name}' is already registered; choose another name")
        options.setdefault("capturable", compute.__module__.startswith("tomostain."))
        TERMS[name] = Term(compute, **options)
        return compute

    return decorate


def find_term(name: str) -> Term:
    """Return a term by its name; look for an entry point of this name if none is registered.

    Raises
    ------
    InputError
        If the name is unknown (with "did you mean"), or the package that has the term cannot be imported.

    Examples
    --------
    >>> find_term("cycle").needs_reverse
    True
    """
    if name not in TERMS:
        for point in entry_points(group=ENTRY_POINTS, name=name):
            try:
                point.load()
            except Exception as error:
                raise InputError(f"term '{name}': cannot import {point.value}, which has it ({error})") from error
    if name not in TERMS:
        raise InputError(f"unknown term '{name}'{suggest(name, list(TERMS))}")
    return TERMS[name]


def current_name(name: str) -> str:
    """Return the name of a term today, with a deprecation warning if `name` is an older one."""
    if name not in RENAMED:
        return name
    warn_user(f"the loss term '{name}' is now '{RENAMED[name]}'", DeprecatedNameWarning)
    return RENAMED[name]


def check_arguments(name: str, build: Build, arguments: Mapping[str, object]) -> None:
    """Raise ValueError if a network of a loss term does not take these keyword arguments."""
    try:
        inspect.signature(build).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"loss_networks: {name}: {error}") from None


@register_term("adversarial", needs_reverse=True, discriminators=("d_y", "d_x"), judged="histology")
def _adversarial(s: Step) -> Tensor:
    return losses.adversarial(s.scores_fake_y, s.scores_fake_x)


# G_xy(y) and G_yx(x) of eq. (3) give each network an image of the other domain: both need the same channels.
@register_term("identity", needs_reverse=True, channels=3, outputs=("same_x", "same_y"))
def _identity(s: Step) -> Tensor:
    return losses.identity(s.same_x, s.x, s.same_y, s.y, s.mask)


@register_term("cycle", needs_reverse=True, outputs=("cycled_x",))
def _cycle(s: Step) -> Tensor:
    return losses.cycle(s.cycled_x, s.x, s.cycled_y, s.y, s.mask)


@register_term("pixelwise", needs_reverse=True, paired=True, compares_colours=True)
def _pixelwise(s: Step) -> Tensor:
    return losses.pixelwise(s.fake_y, s.y, s.fake_x, s.x, s.mask)


@register_term("greyscale", needs_reverse=True)
def _greyscale(s: Step) -> Tensor:
    return losses.greyscale(s.fake_x, s.mask)


@register_term("conditional_adversarial", discriminators=("d_y",), paired=True, judged="pair")
@register_term("adversarial_y", discriminators=("d_y",), judged="histology")
def _adversarial_y(s: Step) -> Tensor:
    return losses.conditional_adversarial(s.scores_fake_y)


@register_term("feature_matching", discriminators=("d_y",), paired=True)
def _feature_matching(s: Step) -> Tensor:
    return losses.feature_matching(s.features_y[:-1], s.features_fake_y[:-1], s.mask)


@register_term(
    "registered_pixelwise",
    needs_reverse=True,
    needs_deformation=True,
    paired=True,
    compares_colours=True,
    whole_batch=True,
)
def _registered_pixelwise(s: Step) -> Tensor:
    return losses.registered_pixelwise(s.fake_y, s.y, s.fake_x, s.x, s.mask, s.displacement, s.total)


@register_term("registered_l1", needs_deformation=True, paired=True, compares_colours=True, whole_batch=True)
def _registered_l1(s: Step) -> Tensor:
    return losses.registered_l1(s.fake_y, s.y, s.mask, s.displacement, s.total)


@register_term("smoothness", needs_deformation=True, regulariser=True)
def _smoothness(s: Step) -> Tensor:
    return losses.smoothness(s.displacement)


@register_term("shift_tolerant_l1", paired=True, compares_colours=True)
def _shift_tolerant_l1(s: Step) -> Tensor:
    return losses.shift_tolerant_l1(s.fake_y, s.y, s.mask)


@register_term("l1", paired=True, compares_colours=True)
def _l1(s: Step) -> Tensor:
    return losses.l1(s.fake_y, s.y, s.mask)


@register_term("charbonnier", paired=True, compares_colours=True)
def _charbonnier(s: Step) -> Tensor:
    return losses.charbonnier(s.fake_y, s.y, s.mask)


@register_term("multiscale_l1", paired=True, compares_colours=True)
def _multiscale_l1(s: Step) -> Tensor:
    return losses.multiscale_l1(s.fake_y, s.y, s.mask)


@register_term("noise_spread", needs_noise=True)
def _noise_spread(s: Step) -> Tensor:
    return losses.noise_spread(s.fake_y, s.other_fake_y, s.mask)


@register_term("perceptual", paired=True, min_side_px=MIN_SIDE_PX, frozen={"lpips": PerceptualDistance})
def _perceptual(s: Step) -> Tensor:
    return s.network("lpips")(losses.composite(s.fake_y, s.y, s.mask), s.y).mean()
