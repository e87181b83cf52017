"""The grey values that training references distinguish if they do not state others; values outside are clipped."""

GREY_LIMITS = (0.0, 40_000.0)
"""Those of references without limits of their own, and of the quantiles of grey values in ``model.yaml``."""
