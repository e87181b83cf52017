"""How models are compared: the options of an evaluation."""

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from tomostain.config import Config
from tomostain.evaluate.lpips import Lpips
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
    lpips_weights : Path, optional
        SqueezeNet's weights.
    lpips_fetch : bool
        Download them if they are not there.
    stain : StainConfig
        How the pairs are stained.
    """

    split: Literal["test", "validation", "train", "all"] = "test"
    patch_px: int = Field(256, ge=7)
    stride_px: int | None = Field(None, ge=1)
    baselines: bool = True
    lpips: Literal["alex", "squeeze", "none"] = "alex"
    lpips_weights: Path | None = None
    lpips_fetch: bool = False
    stain: StainConfig = StainConfig()

    def build_lpips(self, device: str) -> Lpips | None:
        """Return the metric that `lpips` asks for, or None; `device` may be ``auto``."""
        if self.lpips == "none":
            return None
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return Lpips(self.lpips, self.lpips_weights, fetch=self.lpips_fetch, device=device)
