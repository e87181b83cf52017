"""Evaluate models: metrics on patches, images, sets and volumes, baselines, tables and figures (paper section 2.10)."""

from tomostain.deprecation import renamed
from tomostain.evaluate.baselines import ColourLookup, MeanImage, fit_baselines, raw_ct
from tomostain.evaluate.config import EvaluateConfig
from tomostain.evaluate.figures import difference_image, draw_boxplots
from tomostain.evaluate.metrics import (
    ImageSample,
    Metric,
    available_metrics,
    get_metric,
    register_metric,
    select_metrics,
)
from tomostain.evaluate.metrics.lpips import Lpips
from tomostain.evaluate.metrics.patch import (
    PatchOptions,
    background_colour,
    evaluate_images,
    fill_background,
    measure_patches,
    patch_grid,
    patch_metrics,
    psnr,
    ssim,
)
from tomostain.evaluate.metrics.stripes import Stripes, draw_stripes, stripe_index
from tomostain.evaluate.result_files import write_results
from tomostain.evaluate.run import compare, evaluate, evaluate_models
from tomostain.evaluate.table import Summary, Table, summarise
from tomostain.figures.row import captioned_row

__all__ = [
    "ColourLookup",
    "EvaluateConfig",
    "ImageSample",
    "Lpips",
    "MeanImage",
    "Metric",
    "PatchOptions",
    "Stripes",
    "Summary",
    "Table",
    "available_metrics",
    "background_colour",
    "captioned_row",
    "compare",
    "difference_image",
    "draw_boxplots",
    "draw_stripes",
    "evaluate",
    "evaluate_images",
    "evaluate_models",
    "fill_background",
    "fit_baselines",
    "get_metric",
    "measure_patches",
    "patch_grid",
    "patch_metrics",
    "psnr",
    "raw_ct",
    "register_metric",
    "select_metrics",
    "ssim",
    "stripe_index",
    "summarise",
    "write_results",
]

__getattr__ = renamed(__name__, {"side_by_side": "captioned_row"})
