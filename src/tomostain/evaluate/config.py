"""How models are compared: the options of an evaluation."""

from typing import Literal

from pydantic import Field

from tomostain.config import Config
from tomostain.stain import StainConfig


class EvaluateConfig(Config):
    """How models are compared.

    Attributes
    ----------
    split : {"test", "validation", "train", "all"}
        Which pairs; validation and train are those of the model's fold.
    patch_px, stride_px : int
        Side and step of the patches; the step is the side if not given. 256 px in the paper.
    baselines : bool
        Add the raw µCT, the mean training image and the grey-value look-up.
    lpips : {"alex", "squeeze", "none"}
        The network of LPIPS.
    doubt : bool
        Write maps of doubt too: cycle error of models that have a way back, disagreement of several models.
    stain : StainConfig
        How the pairs are stained.
    """

    split: Literal["test", "validation", "train", "all"] = "test"
    patch_px: int = Field(default=256, ge=7)
    stride_px: int | None = Field(default=None, ge=1)
    baselines: bool = True
    lpips: Literal["alex", "squeeze", "none"] = "alex"
    doubt: bool = False
    stain: StainConfig = Field(default_factory=lambda: StainConfig.from_dict({}))
