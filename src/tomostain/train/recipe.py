"""A recipe: a named training objective with its networks and schedule."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from tomostain.config import Config
from tomostain.devices import has_bf16
from tomostain.errors import InputError
from tomostain.io.model_spec import MAX_PATCH_PX
from tomostain.networks import parse_discriminator_spec, parse_generator_spec, parse_spec
from tomostain.tiling.ct_window import DEFAULT_CT_WINDOW, CtWindow
from tomostain.tiling.noise import NoiseSpec
from tomostain.tiling.slice_context import SliceCount
from tomostain.train.augment import Augment
from tomostain.train.fine_tune import FineTune
from tomostain.train.recipe_names import with_current_names
from tomostain.train.terms import Build, Term, check_arguments, find_term

Decay = Annotated[float, Field(ge=0, lt=1)]
"""A decay of Adam's moments."""


class Recipe(Config):
    """The training objective, the networks and the schedule. The defaults are the paper's (sections 2.6 and 2.7).

    Attributes
    ----------
    name : str
    description : str
        One line for the list of recipes. It is not inherited from a base.
    in_channels : {1, 3}
        Channels of the µCT; the paper repeats the grey value in three.
    ct_slices : int
        Neighbouring slices of the µCT that the generator sees at once, as its channels. Odd; together about as thick
        as the section (`tomostain.tiling.slice_context`). The dataset must hold them (`ct_slices` of `prepare`).
    noise : NoiseSpec
        Noise that G_xy gets in addition to the µCT, as a fixed function of the position (`tomostain.tiling.noise`):
        `channels` (default 0) and `correlation_px`.
    inverted_ct : bool
        The networks see the inverted µCT.
    ct_window : tuple of int
        The grey values of the normalised µCT that the networks distinguish (background 10000, bone 30000): [low, high],
        mapped to [-1, 1]. Brighter and darker values are clipped. The model keeps it (`tomostain.tiling.ct_window`).
    terms : dict of str to float
        The objective: weight of each term (`tomostain.train.terms`). A term with weight 0 is not computed.
    generator, discriminator : dict
        Architecture of G_xy (and G_yx) and of D_y (and D_x) for `build_network`, without channel counts.
    deformation : dict
        Architecture of the network that predicts the displacement, for the terms that need one.
    loss_networks : dict of str to dict
        Keyword arguments of the networks that loss terms train, by the name of the network.
    average : float
        Decay per step of the running average of G_xy's weights. The average then stains. 0: no average.
    residual_registration : int
        Steps between two registrations of the histology of each pair to the output of G_xy; 0: never.
    registration_share : float
        Maximum share of the computation that residual registration takes after the first one: of many pairs only a part
        is registered each time, in turn. 1: all pairs each time.
    reject_pairs : bool
        At each residual registration, leave out the pairs whose correlation with the output of G_xy is exceptionally
        low (`tomostain.train.pair_rejection`), until the next one.
    learning_rate, betas : float, pair of float
        Parameters of Adam.
    fine_tune : FineTune
        The learning rate of a training that begins with the weights of another model (`init` of `train_model`).
    clip_norm : float
        Maximum norm of the gradient; 0: no limit, as in the paper.
    supervise_background : bool
        Terms also compare the pixels outside the mask where µCT and histology both show background
        (`tomostain.imaging.common_background`). Otherwise nothing supervises the air around the specimen.
    batch, patch_px, patches_per_pair, epochs : int
        An epoch draws `patches_per_pair` patches for each training pair.
    accumulate : int
        Number of parts in which a batch goes through the networks, one after the other: the same step in less memory.
        It must divide `batch`, and the share of each process.
    checkpoint_activations : bool
        Generators recompute their activations in the backward pass: the same bits in less memory and more time.
    compile : {"auto", "step-graph", False, True, "cuda-graphs"}
        How the kernels of a step are launched. "step-graph": a GPU launches those of a whole step together
        (`tomostain.train.step_graph`); nothing is compiled. False: one by one. True: compile the networks with
        `torch.compile`, with torch's own convolutions. "cuda-graphs": compile, and launch those of each pass of a
        network together (`tomostain.train.memory_options`). "auto": "step-graph" on a GPU in a single process without
        `checkpoint_activations`, if all terms are capturable (`tomostain.train.terms.Term`), else False.
    buffer : int
        Images in the buffer of each discriminator; 0: no buffer.
    precision : {"auto", "32-true", "bf16-mixed"}
        Precision of the arithmetic. The last is for GPUs with bf16 and CPUs with AMX; others take several times as
        long. "auto": "bf16-mixed" on a GPU that has bf16, else "32-true".
    deterministic : bool
        Use only operations with the same bits each time on a GPU, too, which takes more time: reflection padding and
        resampling sum their gradients in a fixed order. A CPU gives the same bits with and without.
    kernels : {"fast", "plain"}
        On a CPU, the convolutions of `tomostain.networks.kernels.accelerate` or those of torch; on a GPU, the fused
        layers of `tomostain.networks.kernels.accelerate_cuda` or those of torch. They differ by rounding, so the same
        seed gives the same bits only with the same kernels. bf16 on a CPU uses the convolutions of torch; wide networks
        use channels last, unless "plain".
    augment : Augment
        Augmentation of the patches.

    Notes
    -----
    The older keys `realign` and `field`, and older names of terms, are accepted with a `DeprecationWarning`.
    """

    name: str
    description: str = ""
    in_channels: Literal[1, 3] = 3
    ct_slices: SliceCount = 1
    noise: NoiseSpec = NoiseSpec()
    inverted_ct: bool = False
    ct_window: CtWindow = DEFAULT_CT_WINDOW
    terms: dict[str, float]
    generator: dict[str, Any]
    discriminator: dict[str, Any]
    deformation: dict[str, Any] = Field(default_factory=lambda: {"name": "field"})
    loss_networks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    average: float = Field(0.0, ge=0, lt=1)
    residual_registration: int = Field(0, ge=0)
    registration_share: float = Field(0.25, gt=0, le=1)
    reject_pairs: bool = False
    learning_rate: float = Field(2e-4, gt=0)
    betas: tuple[Decay, Decay] = (0.5, 0.999)
    fine_tune: FineTune = FineTune()
    clip_norm: float = Field(0.0, ge=0)
    supervise_background: bool = False
    batch: int = Field(4, ge=1, le=65536)
    patch_px: int = Field(256, ge=8, le=MAX_PATCH_PX)
    patches_per_pair: int = Field(100, ge=1, le=10**9)
    epochs: int = Field(500, ge=1, le=10**9)
    accumulate: int = Field(1, ge=1)
    checkpoint_activations: bool = False
    compile: Literal["auto", "step-graph", False, True, "cuda-graphs"] = "auto"
    buffer: int = Field(50, ge=0, le=10**6)
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    deterministic: bool = False
    kernels: Literal["fast", "plain"] = "fast"
    augment: Augment = Augment()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "options") -> Self:
        """Validate a mapping without a base; `tomostain.load_recipe` also takes one with the key ``base``."""
        if "base" in values:
            raise InputError(f"{source}: 'base' names another recipe, which tomostain.load_recipe reads; use that")
        return super().from_dict(values, source)

    @model_validator(mode="before")
    @classmethod
    def _current_names(cls, values: object) -> object:
        return with_current_names(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _terms_are_known(self) -> "Recipe":
        for name, weight in self.terms.items():
            try:
                find_term(name)
            except InputError as error:
                raise ValueError(str(error)) from None
            if weight < 0:
                raise ValueError(f"term '{name}' has the weight {weight:g}; weights are 0 or more")
        if not self.active:
            raise ValueError("no term has a weight above 0; nothing would be learned")
        return self

    @model_validator(mode="after")
    def _objective_makes_sense(self) -> "Recipe":
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate {self.accumulate} does not divide batch {self.batch}; give one that does")
        if self.reject_pairs and not self.residual_registration:
            raise ValueError("reject_pairs needs the outputs of the residual registration; set residual_registration")
        whole = self._names_of_terms(lambda term: term.whole_batch)
        if self.accumulate > 1 and whole:
            raise ValueError(f"{_and(whole)} need the mask of the whole batch; leave accumulate at 1")
        for name in self.active:
            if self.patch_px < find_term(name).min_side_px:
                raise ValueError(
                    f"patch_px {self.patch_px} is too small for the term '{name}'; give at least "
                    f"{find_term(name).min_side_px}"
                )
            channels = find_term(name).channels
            if channels not in (None, self.in_channels):
                raise ValueError(
                    f"in_channels {self.in_channels} rules out the term '{name}', which needs {channels}; set its "
                    "weight to 0"
                )
        if self.ct_slices > 1 and (self.in_channels != 1 or self.needs_reverse):
            raise ValueError(
                f"ct_slices {self.ct_slices} goes with in_channels 1 and an objective without the reverse generator: "
                "neighbouring slices cannot be generated from histology"
            )
        regularisers = self._names_of_terms(lambda term: term.regulariser)
        if regularisers and not self._names_of_terms(lambda term: term.needs_deformation and not term.regulariser):
            raise ValueError(
                f"{_and(regularisers)} without a term that fits the deformation; add registered_l1 or "
                "registered_pixelwise"
            )
        self._check_noise_terms()
        judged = self._names_of_terms(lambda term: term.judged is not None)
        if len(judged) > 1:
            raise ValueError(f"{_and(judged)} need different discriminators of histology; keep one of them")
        if self.conditional and self.needs_reverse:
            reverse = self._names_of_terms(lambda term: term.needs_reverse)
            raise ValueError(f"{judged[0]} has no reverse direction; remove {_and(reverse)}")
        return self

    def _check_noise_terms(self) -> None:
        named = self._names_of_terms(lambda term: term.needs_noise)
        if named and not self.noise.channels:
            raise ValueError(f"{_and(named)} needs a noise input; set noise: {{channels: 1}}")
        if named and 4 * self.noise.correlation_px > self.patch_px:
            raise ValueError(
                f"{_and(named)} compares noise half a patch apart, which must not be correlated; give "
                f"noise.correlation_px at most {self.patch_px // 4}, a quarter of patch_px"
            )
        held = sum(self.active[name] for name in self._names_of_terms(lambda term: term.compares_colours))
        if (reward := self.active.get("noise_spread", 0.0)) > held:
            raise ValueError(
                f"noise_spread has the weight {reward:g}, and the terms that compare colours, such as l1, have "
                f"{held:g} together; the colours would diverge. Give noise_spread at most {held:g}"
            )

    @model_validator(mode="after")
    def _loss_networks_fit(self) -> "Recipe":
        builders: dict[str, set[Build]] = {}
        for term in self.active_terms.values():
            for name, build in (*term.frozen.items(), *term.trained.items()):
                builders.setdefault(name, set()).add(build)
        for name, different in builders.items():
            if len(different) > 1:
                raise ValueError(f"two terms give different networks the name '{name}'; rename one of them")
        declared = self.trained_networks()
        for name, arguments in self.loss_networks.items():
            if name not in declared:
                raise ValueError(
                    f"loss_networks: no active term has a network '{name}'; known: {', '.join(declared) or 'none'}"
                )
            check_arguments(name, declared[name], arguments)
        return self

    @model_validator(mode="after")
    def _networks_fit(self) -> "Recipe":
        for role, spec in (
            ("generator", self.generator),
            ("discriminator", self.discriminator),
            ("deformation", self.deformation),
        ):
            parse_spec(spec, role)
            for channels in ("in_channels", "out_channels"):
                if channels in spec:
                    raise ValueError(f"{role}: {channels} follows from the recipe's own in_channels; leave it out")
        step = parse_generator_spec(self.generator).size_multiple
        if self.patch_px % step:
            raise ValueError(f"patch_px {self.patch_px} must be a multiple of {step} for this generator")
        minimum = parse_discriminator_spec(self.discriminator).min_size_px
        if self.adversarial and self.patch_px < minimum:
            raise ValueError(f"patch_px {self.patch_px} is too small for this discriminator; give at least {minimum}")
        return self

    @property
    def active(self) -> dict[str, float]:
        """The terms that are computed, with their weights."""
        return {term: weight for term, weight in self.terms.items() if weight > 0}

    @property
    def active_terms(self) -> dict[str, Term]:
        """The active terms themselves, by name."""
        return {name: find_term(name) for name in self.active}

    def _names_of_terms(self, condition: Callable[[Term], bool]) -> list[str]:
        return [name for name, term in self.active_terms.items() if condition(term)]

    @property
    def needs_reverse(self) -> bool:
        """Whether G_yx and D_x exist."""
        return any(term.needs_reverse for term in self.active_terms.values())

    @property
    def needs_deformation(self) -> bool:
        """Whether a network predicts the displacement of the histology."""
        return any(term.needs_deformation for term in self.active_terms.values())

    @property
    def paired(self) -> bool:
        """Whether a term compares an image with the other half of its pair."""
        return any(term.paired for term in self.active_terms.values())

    @property
    def conditional(self) -> bool:
        """Whether D_y judges µCT and histology together (Pix2Pix)."""
        return any(term.judged == "pair" for term in self.active_terms.values())

    @property
    def adversarial(self) -> bool:
        """Whether a term needs a discriminator."""
        return any(term.discriminators for term in self.active_terms.values())

    def steps_per_epoch(self, pairs: int) -> int:
        """Return the steps of an epoch: each draws `batch` of the `patches_per_pair` patches of each pair."""
        return -(-self.patches_per_pair * pairs // self.batch)

    def trained_networks(self) -> dict[str, Build]:
        """Return how to build the networks that loss terms train, by name."""
        return {name: build for term in self.active_terms.values() for name, build in term.trained.items()}

    def frozen_networks(self) -> dict[str, Callable[[], nn.Module]]:
        """Return how to build the fixed networks of loss terms, by name."""
        return {name: build for term in self.active_terms.values() for name, build in term.frozen.items()}

    @property
    def cuda_graphs(self) -> bool:
        """Whether a GPU launches the kernels of a network together."""
        return self.compile == "cuda-graphs"

    @property
    def step_graph(self) -> bool:
        """Whether a GPU launches the kernels of a step together."""
        return self.compile == "step-graph"

    @property
    def compiles(self) -> bool:
        """Whether networks are compiled."""
        return self.compile in (True, "cuda-graphs")

    def for_device(self, device: torch.device, processes: int = 1) -> "Recipe":
        """Return the recipe with `precision` and `compile` resolved for a device.

        Examples
        --------
        >>> from tomostain.train import load_recipe
        >>> recipe = load_recipe("tomostain").for_device(torch.device("cpu"))
        >>> recipe.precision, recipe.compile
        ('32-true', False)
        """
        precision, launching = self.precision, self.compile
        if precision == "auto":
            precision = "bf16-mixed" if has_bf16(device) else "32-true"
        if launching == "auto":
            capturable = all(term.capturable for term in self.active_terms.values())
            graph = device.type == "cuda" and processes == 1 and capturable and not self.checkpoint_activations
            launching = "step-graph" if graph else False
        return self.model_copy(update={"precision": precision, "compile": launching})

    @property
    def ct_channels(self) -> int:
        """Channels of the µCT that the networks see."""
        return self.ct_slices if self.ct_slices > 1 else self.in_channels

    def generator_spec(self, *, reverse: bool = False) -> dict[str, Any]:
        """Return the architecture of G_xy, or of G_yx, with its channels."""
        if reverse:  # its input has no grey values
            forward = {key: value for key, value in self.generator.items() if key != "grey_knots"}
            return {**forward, "in_channels": 3, "out_channels": self.in_channels}
        encoded = (
            {"grey_channels": self.ct_channels} if self.noise.channels and self.generator.get("grey_knots") else {}
        )
        return {**self.generator, **encoded, "in_channels": self.ct_channels + self.noise.channels, "out_channels": 3}

    def discriminator_spec(self, *, reverse: bool = False) -> dict[str, Any]:
        """Return the architecture of D_y, or of D_x, with its channels."""
        channels = self.in_channels if reverse else 3 + self.ct_channels * self.conditional
        return {**self.discriminator, "in_channels": channels}


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)
