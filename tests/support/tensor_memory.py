"""The memory that tensors take while code runs, on any device."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TensorMemory(TorchDispatchMode):
    """Counts the bytes of the tensors that are made within a context.

    Parameters
    ----------
    *known : Tensor
        Made before; their views do not count.

    Attributes
    ----------
    peak : int
        The largest number of bytes at a time.
    """

    def __init__(self, *known):
        super().__init__()
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._now, self.peak, self._bytes = 0, 0, {}

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self._count(value.untyped_storage())
        return result

    def _count(self, storage):
        key = storage._cdata
        if key not in self._known and key not in self._bytes:
            self._bytes[key] = storage.nbytes()
            self._now += storage.nbytes()
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._free, key)

    def _free(self, key):
        self._now -= self._bytes.pop(key)
