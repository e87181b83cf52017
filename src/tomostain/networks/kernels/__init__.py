"""Fast CPU kernels: the same layers with fewer multiplications. Import only from this package, not from its modules."""

from tomostain.networks.kernels.convert import accelerate, arrange, put_channels_last

__all__ = ["accelerate", "arrange", "put_channels_last"]
