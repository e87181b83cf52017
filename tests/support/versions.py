"""Versions of libraries that some tests depend on."""

import torch

EARLY_TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 9)
"""torch dispatches more operators than the version for which the limits of tests were chosen (2.13)."""
