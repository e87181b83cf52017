"""Options of an evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self, TypedDict

from pydantic import Field, field_validator, model_validator

from tomostain.config import Config
from tomostain.devices import choose_device
from tomostain.errors import warn_user
from tomostain.evaluate.metrics.lpips import Lpips
from tomostain.paths import StrPath
from tomostain.stain import StainConfig

PAPER: Literal["paper"] = "paper"
IMPLANT_EXCLUDED: Literal["without-screw"] = "without-screw"
SHIFT_TOLERANT: Literal["shift-tolerant"] = "shift-tolerant"
Protocol = Literal["paper", "without-screw", "shift-tolerant"]
PROTOCOLS: tuple[Protocol, ...] = (PAPER, IMPLANT_EXCLUDED, SHIFT_TOLERANT)
Split = Literal["test", "validation", "train", "all"]

_SPLITS = {"training": "train"}
_PROTOCOL_NAMES = {"implant-excluded": IMPLANT_EXCLUDED}


class EvaluateConfig(Config):
    """How models are compared.

    Attributes
    ----------
    split : {"test", "validation", "train", "all"}
        Which pairs. "validation" and "train" (or "training") are those of the model's fold.
    metrics : tuple of str
        Metrics in addition to SSIM, LPIPS and PSNR: names of `tomostain.evaluate.available_metrics`.
    protocols : tuple of {"paper", "without-screw", "shift-tolerant"}
        How patches are compared. "paper" is always included. "implant-excluded" is another name of "without-screw".
    patch_px, stride_px : int
        Side and step of the patches, px; the step is the side if not given. 256 px in the paper.
    baselines : bool
        Add the raw µCT, the mean training image and the grey-value look-up.
    lpips : {"alex", "squeeze", "none"}
        The network of LPIPS.
    lpips_weights : path, optional
        ``squeezenet1_1-b8a52dc0.pth``, for "squeeze".
    lpips_fetch : bool
        Download the weights for "squeeze" if they are missing.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    uncertainty : bool
        Also write uncertainty maps and their calibration: cycle error of models with a reverse generator, disagreement
        of several models, novelty.
    exclude_implant : bool
        Report the calibration also without the implant, which is black and easy to stain.
    volumes : tuple of path
        µCT volumes that the models stain for metrics of scope "volume".
    notes : tuple of str
        Sentences to print below the table.
    stain : StainConfig
        How the pairs are stained.
    """

    split: Split = "test"
    metrics: tuple[str, ...] = ()
    protocols: tuple[Protocol, ...] = PROTOCOLS
    patch_px: int = Field(default=256, ge=7)
    stride_px: int | None = Field(default=None, ge=1)
    baselines: bool = True
    lpips: Literal["alex", "squeeze", "none"] = "alex"
    lpips_weights: Path | None = None
    lpips_fetch: bool = False
    device: str = "auto"
    uncertainty: bool = False
    exclude_implant: bool = False
    volumes: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    stain: StainConfig = Field(default_factory=lambda: StainConfig.from_dict({}))

    @model_validator(mode="before")
    @classmethod
    def _older_names(cls, values: Mapping[str, object]) -> dict[str, object]:
        values = dict(values)
        if "doubt" in values:
            warn_user("`doubt` is now `uncertainty`", DeprecationWarning)
            values["uncertainty"] = values.pop("doubt")
        if values.get("lpips", "") is None:
            values["lpips"] = "none"
        if isinstance(split := values.get("split"), str):
            values["split"] = _SPLITS.get(split, split)
        return values

    @field_validator("protocols", mode="before")
    @classmethod
    def _with_paper(cls, value: object) -> object:
        if not isinstance(value, (list, tuple)):
            return value
        named = {_PROTOCOL_NAMES.get(name, name) for name in value} | {PAPER}
        protocols = [name for name in PROTOCOLS if name in named]
        return (*protocols, *sorted(map(str, named - set(protocols))))

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.exclude_implant and not self.uncertainty:
            raise ValueError("`exclude_implant` refers to the calibration; set `uncertainty=True`, too")
        if self.lpips != "squeeze" and (self.lpips_weights is not None or self.lpips_fetch):
            raise ValueError(f"`lpips_weights` and `lpips_fetch` need `lpips=squeeze`, not {self.lpips}")
        return self


class EvaluateOptions(TypedDict, total=False):
    """The attributes of `EvaluateConfig` as keywords. `lpips` also takes a loaded network, or None for "none"."""

    split: str
    metrics: Sequence[str]
    protocols: Sequence[str]
    patch_px: int
    stride_px: int | None
    baselines: bool
    lpips: Lpips | str | None
    lpips_weights: StrPath | None
    lpips_fetch: bool
    device: str
    uncertainty: bool
    exclude_implant: bool
    volumes: Sequence[StrPath]
    notes: Sequence[str]
    stain: StainConfig | Mapping[str, object]
    doubt: bool


def read_options(options: EvaluateOptions) -> tuple[EvaluateConfig, Lpips | None]:
    """Validate options, and load the network of LPIPS unless it is among them.

    Raises
    ------
    InputError
        If an option is unknown or wrong, or the weights of the network are missing.
    """
    lpips = options.get("lpips", "alex")
    values: dict[str, object] = dict(options)
    if isinstance(lpips, Lpips):
        values["lpips"] = lpips.network
    config = EvaluateConfig.from_dict(values, "evaluate")
    if isinstance(lpips, Lpips) or config.lpips == "none":
        return config, lpips if isinstance(lpips, Lpips) else None
    device = choose_device(config.device)
    return config, Lpips(config.lpips, config.lpips_weights, fetch=config.lpips_fetch, device=device)
