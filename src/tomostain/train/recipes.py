"""Recipes: a named training objective with its networks and schedule, as data (YAML, `base:` to inherit)."""

from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from tomostain.config import Config, read_yaml, suggest
from tomostain.errors import InputError
from tomostain.networks import parse_discriminator_spec, parse_generator_spec, parse_spec
from tomostain.tiling.slice_context import SliceCount
from tomostain.train.augment import Augment
from tomostain.train.objective import TERMS

# Each says what D_y is shown.
_JUDGED = ("adversarial", "adversarial_y", "conditional_adversarial")


class Recipe(Config):
    """What is trained, on what, and how long. The defaults are the paper's (sections 2.6 and 2.7).

    Attributes
    ----------
    name : str
    in_channels : {1, 3}
        Channels of the µCT; the paper repeats the grey value in three.
    ct_slices : int
        Neighbouring slices of the µCT that the generator sees at once, as its channels: odd, as thick together as the
        section, or a little more (`tomostain.tiling.slice_context`). The data set must hold them (`prepare
        --ct-slices`).
    inverted_ct : bool
        The networks see the µCT inverted.
    terms : dict of str to float
        The objective: weight of each term of `tomostain.train.objective.TERMS`. Weight 0: not computed.
    generator, discriminator : dict
        Architecture of G_xy (and G_yx) and of D_y (and D_x) for `build_network`, without channel counts.
    field : dict
        Architecture of the displacement field, for the terms that need one.
    average : float
        Decay, a step, of the running average of G_xy's weights, which then stains; 0: none.
    realign : int
        Steps between two re-registrations of each pair's histology to what G_xy makes of its µCT; 0: never.
    learning_rate, betas : float, pair of float
        Adam.
    clip_norm : float
        Gradients longer than this are shortened to it; 0 for none, as the paper.
    batch, patch_px, patches_per_pair, epochs : int
        An epoch draws `patches_per_pair` patches a training pair.
    accumulate : int
        In so many parts a batch goes through the networks, one after the other: the same step in less memory. It must
        divide `batch`, or a process's share of it.
    checkpoint_activations : bool
        Generators compute their inner values anew on the way back in place of keeping them: the same bits in less
        memory, in more time.
    compile : {False, True, "cuda-graphs"}
        Networks go through `torch.compile`, with torch's own convolutions; the last has their kernels launched together
        on a GPU. See `tomostain.train.memory_options`.
    buffer : int
        Images in each discriminator's buffer; 0 for none.
    precision : {"32-true", "bf16-mixed"}
        Of the arithmetic; the second is for GPUs that have it, and CPUs with AMX: others take several times as long.
    kernels : {"fast", "plain"}
        Convolutions on a CPU: the fast ones (`tomostain.networks.kernels.accelerate`) or those of torch. They differ by
        rounding, so the same seed gives the same bits with the same kernels only. A GPU, and bf16, always use those of
        torch. With bf16 on a CPU, wide networks use channels last, unless "plain".
    augment : Augment
    """

    name: str
    in_channels: Literal[1, 3] = 3
    ct_slices: SliceCount = 1
    inverted_ct: bool = False
    terms: dict[str, float]
    generator: dict[str, Any]
    discriminator: dict[str, Any]
    field: dict[str, Any] = Field(default_factory=lambda: {"name": "field"})
    average: float = Field(0.0, ge=0, lt=1)
    realign: int = Field(0, ge=0)
    learning_rate: float = Field(2e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    clip_norm: float = Field(0.0, ge=0)
    batch: int = Field(4, ge=1)
    patch_px: int = Field(256, ge=8)
    patches_per_pair: int = Field(100, ge=1)
    epochs: int = Field(500, ge=1)
    accumulate: int = Field(1, ge=1)
    checkpoint_activations: bool = False
    compile: Literal[False, True, "cuda-graphs"] = False
    buffer: int = Field(50, ge=0)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    kernels: Literal["fast", "plain"] = "fast"
    augment: Augment = Augment()

    @model_validator(mode="after")
    def _objective_makes_sense(self) -> "Recipe":
        for term, weight in self.terms.items():
            if term not in TERMS:
                raise ValueError(f"unknown term '{term}'{suggest(term, list(TERMS))}")
            if weight < 0:
                raise ValueError(f"term '{term}' has the weight {weight:g}; weights are 0 or more")
        if not self.active:
            raise ValueError("no term has a weight above 0; nothing would be learnt")
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate {self.accumulate} does not divide batch {self.batch}; give one that does")
        if self.accumulate > 1 and {"settled", "settled_l1"} & set(self.active):
            raise ValueError("settled and settled_l1 weigh by the mask of the whole batch; leave accumulate at 1")
        if self.in_channels == 1 and "identity" in self.active:
            # G_xy(y) and G_yx(x) of eq. (3) put one domain's image into the other's network.
            raise ValueError("in_channels 1 rules the term 'identity' out: the domains differ in channels; set it to 0")
        if self.ct_slices > 1 and (self.in_channels != 1 or self.needs_reverse):
            raise ValueError(
                f"ct_slices {self.ct_slices} goes with in_channels 1 and an objective without the reverse generator: "
                "histology does not tell neighbouring slices"
            )
        if "smoothness" in self.active and not {"settled", "settled_l1"} & set(self.active):
            raise ValueError("smoothness without settled or settled_l1: there is no displacement that could be smooth")
        if len(judged := [term for term in _JUDGED if term in self.active]) > 1:
            raise ValueError(f"{' and '.join(judged)} need different discriminators of histology; keep one of them")
        if self.conditional and self.needs_reverse:
            raise ValueError(
                "conditional_adversarial has no reverse direction: it goes with l1, settled_l1, tolerant and "
                "feature_matching only"
            )
        return self

    @model_validator(mode="after")
    def _networks_fit(self) -> "Recipe":
        for role, spec in (
            ("generator", self.generator),
            ("discriminator", self.discriminator),
            ("field", self.field),
        ):
            parse_spec(spec, role)
            for key in ("in_channels", "out_channels"):
                if key in spec:
                    raise ValueError(f"{role}: {key} follows from the recipe's own in_channels; leave it out")
        step = parse_generator_spec(self.generator).size_multiple
        if self.patch_px % step:
            raise ValueError(f"patch_px {self.patch_px} must be a multiple of {step} for this generator")
        minimum = parse_discriminator_spec(self.discriminator).min_size_px
        if self.adversarial and self.patch_px < minimum:
            raise ValueError(f"patch_px {self.patch_px} is too small for this discriminator; give at least {minimum}")
        return self

    @property
    def active(self) -> dict[str, float]:
        """The terms that are computed."""
        return {term: weight for term, weight in self.terms.items() if weight > 0}

    @property
    def needs_reverse(self) -> bool:
        """Whether G_yx and D_x exist."""
        return any(TERMS[term].reverse for term in self.active)

    @property
    def needs_field(self) -> bool:
        """Whether there is a displacement field."""
        return any(TERMS[term].field for term in self.active)

    @property
    def conditional(self) -> bool:
        """Whether D_y judges µCT and histology together (Pix2Pix)."""
        return "conditional_adversarial" in self.active

    @property
    def adversarial(self) -> bool:
        """Whether there is anything for a discriminator to do."""
        return any(TERMS[term].discriminators for term in self.active)

    @property
    def cuda_graphs(self) -> bool:
        """Whether the networks' kernels are launched together."""
        return self.compile == "cuda-graphs"

    @property
    def ct_channels(self) -> int:
        """Channels of the µCT as the networks see it."""
        return self.ct_slices if self.ct_slices > 1 else self.in_channels

    def generator_spec(self, reverse: bool = False) -> dict[str, Any]:
        """Return the architecture of G_xy, or of G_yx, with its channels."""
        into, out = (3, self.in_channels) if reverse else (self.ct_channels, 3)
        return {**self.generator, "in_channels": into, "out_channels": out}

    def discriminator_spec(self, reverse: bool = False) -> dict[str, Any]:
        """Return the architecture of D_y, or of D_x, with its channels."""
        channels = self.in_channels if reverse else 3 + self.ct_channels * self.conditional
        return {**self.discriminator, "in_channels": channels}


def list_recipes() -> list[str]:
    """Return the names of the recipes that come with tomostain."""
    folder = resources.files("tomostain.train") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by name or from a YAML file.

    A recipe may begin with ``base: NAME``: then it states only what differs. ``generator`` and ``discriminator`` (as
    long as their name stays) and ``augment`` are merged key by key; ``terms`` replaces the base's objective as a whole.

    Raises
    ------
    InputError
        If there is no such recipe, or it has an unknown key (with "did you mean") or a wrong value.

    Examples
    --------
    >>> load_recipe("paired-cyclegan").terms["pixelwise"]
    6.0
    """
    return Recipe.from_dict(_resolve(str(name_or_path), ()), source=f"recipe {name_or_path}")


def _resolve(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    """Return a recipe's values over those of its bases."""
    if name in seen:
        raise InputError(f"recipe {name}: its bases go round in a circle ({' -> '.join([*seen, name])})")
    if name in list_recipes():
        with resources.as_file(resources.files("tomostain.train") / "recipes" / f"{name}.yaml") as path:
            values = read_yaml(path)
    elif name.endswith((".yaml", ".yml")):
        values = read_yaml(Path(name))
    else:
        raise InputError(f"recipe '{name}': is neither a .yaml file nor known{suggest(name, list_recipes())}")
    base = values.pop("base", None)
    if base is None:
        return values
    if str(base).endswith((".yaml", ".yml")):
        base = Path(name).parent / str(base)  # beside the recipe that names it, wherever the command is given
    merged = {"field": {"name": "field"}, **_resolve(str(base), (*seen, name))}
    for key, value in values.items():
        before = merged.get(key)
        nested = key in ("generator", "discriminator", "field", "augment") and isinstance(value, dict)
        if nested and isinstance(before, dict) and value.get("name", before.get("name")) == before.get("name"):
            value = {**before, **value}
        merged[key] = value
    return merged
