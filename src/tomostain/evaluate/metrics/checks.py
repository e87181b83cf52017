"""What metrics require of their images."""

import numpy as np

from tomostain.errors import InputError
from tomostain.evaluate.metrics.base import RGB


def require_equal_rgb(a: RGB, b: RGB) -> None:
    """Raise `InputError` unless both images are uint8 RGB of one shape (Y, X, 3)."""
    if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 3:
        raise InputError(
            f"images of shapes {a.shape} and {b.shape}; metrics need two RGB images (Y, X, 3) of one shape"
        )
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise InputError(f"images of types {a.dtype} and {b.dtype}; metrics need 8-bit images (uint8)")
