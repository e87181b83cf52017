"""Fast kernels: the same layers with fewer multiplications on a CPU, and fused layers for a GPU.

Import only from this package, not from its modules.
"""

from tomostain.networks.kernels.convert import accelerate, arrange, put_channels_last
from tomostain.networks.kernels.cuda import accelerate_cuda, is_fusable

__all__ = ["accelerate", "accelerate_cuda", "arrange", "is_fusable", "put_channels_last"]
