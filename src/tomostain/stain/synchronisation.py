"""Find out whether a network makes the host wait for the GPU, which a CUDA graph cannot contain."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Operators whose result, or the size of it, the host needs.
_WAITING = {
    "_local_scalar_dense",
    "_unique",
    "_unique2",
    "bincount",
    "equal",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}
_COPIES = {"_to_copy", "copy_"}
_BY_MASK = {"index", "index_put_", "index_put"}


class _Refusing(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in _WAITING or (name in _BY_MASK and _has_mask(args[1])):
            raise RuntimeError(f"operator {name} makes the host wait for the GPU")
        result = func(*args, **(kwargs or {}))
        if name in _COPIES and len({each.device.type for each in (*args, result) if isinstance(each, Tensor)}) > 1:
            raise RuntimeError(f"operator {name} copies between the host and the GPU")
        return result


def refusing_synchronisation() -> TorchDispatchMode:
    """Raise RuntimeError where this thread calls an operator that makes the host wait for the GPU.

    Other threads read and write volumes meanwhile and may wait. `torch.cuda.set_sync_debug_mode` would raise in them
    too: it is a setting of the process.

    Examples
    --------
    >>> with refusing_synchronisation():
    ...     torch.ones(1).item()
    Traceback (most recent call last):
    ...
    RuntimeError: operator _local_scalar_dense makes the host wait for the GPU
    """
    return _Refusing()


def _has_mask(indices: Sequence[Tensor | None]) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)
