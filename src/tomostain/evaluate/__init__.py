"""Does it hold? Metrics on patches, baselines to beat, the table and the pictures (paper sections 2.10 and 3.2)."""

from tomostain.evaluate.baselines import ColourLookup, MeanImage, raw_ct
from tomostain.evaluate.config import EvaluateConfig
from tomostain.evaluate.figures import difference_image, draw_boxplots, side_by_side
from tomostain.evaluate.metrics.lpips import Lpips
from tomostain.evaluate.metrics.patch import (
    background_colour,
    evaluate_images,
    fill_background,
    patch_grid,
    patch_metrics,
    psnr,
    ssim,
)
from tomostain.evaluate.metrics.stripes import Stripes, draw_stripes, stripe_index
from tomostain.evaluate.run import compare, evaluate, write_results
from tomostain.evaluate.table import Summary, Table

__all__ = [
    "ColourLookup",
    "EvaluateConfig",
    "Lpips",
    "MeanImage",
    "Stripes",
    "Summary",
    "Table",
    "background_colour",
    "compare",
    "difference_image",
    "draw_boxplots",
    "draw_stripes",
    "evaluate",
    "evaluate_images",
    "fill_background",
    "patch_grid",
    "patch_metrics",
    "psnr",
    "raw_ct",
    "side_by_side",
    "ssim",
    "stripe_index",
    "write_results",
]
