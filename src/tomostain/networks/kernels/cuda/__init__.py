"""Fused layers with channels last for GPUs, in Triton. Import only from `tomostain.networks.kernels`."""

from tomostain.networks.kernels.cuda.candidates import is_fusable
from tomostain.networks.kernels.cuda.convert import accelerate_cuda

__all__ = ["accelerate_cuda", "is_fusable"]
