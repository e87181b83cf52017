"""Metrics of stained images and volumes. Importing this package registers them, in the order of tables."""

# ruff: noqa: F401
# isort: off
import tomostain.evaluate.metrics.ssim
import tomostain.evaluate.metrics.lpips
import tomostain.evaluate.metrics.psnr
import tomostain.evaluate.metrics.st_lpips
import tomostain.evaluate.metrics.dists
import tomostain.evaluate.metrics.kid
import tomostain.evaluate.metrics.lacunae
import tomostain.evaluate.metrics.tissue
import tomostain.evaluate.metrics.objects
import tomostain.evaluate.metrics.resolution
import tomostain.evaluate.metrics.grid
import tomostain.evaluate.metrics.texture
import tomostain.evaluate.metrics.stain_amount
import tomostain.evaluate.metrics.mutual_information
import tomostain.evaluate.metrics.stripes

# isort: on
from tomostain.evaluate.metrics.base import (
    ImageSample,
    Metric,
    available_metrics,
    get_metric,
    register_metric,
    select_metrics,
)

__all__ = ["ImageSample", "Metric", "available_metrics", "get_metric", "register_metric", "select_metrics"]
