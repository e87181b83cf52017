"""Learn the translation: networks, losses, recipes and the training loop (paper sections 2.6 and 2.7)."""

from tomostain.train.networks import build_network

__all__ = ["build_network"]
