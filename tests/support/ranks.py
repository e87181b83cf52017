"""Ranks of a distributed training as threads of one process, so that their code runs within the test process."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.distributed import ReduceOp

from tomostain.train.distributed import DistributedContext

_TIMEOUT_S = 300


class Ranks:
    """Several ranks on the CPU, whose collective operations exchange tensors between threads.

    Parameters
    ----------
    monkeypatch : pytest.MonkeyPatch
        Replaces the collective operations of torch.
    size : int
        Number of ranks.
    """

    def __init__(self, monkeypatch, size):
        self.size = size
        self._barrier = threading.Barrier(size, timeout=_TIMEOUT_S)
        self._values = [None] * size
        self._thread = threading.local()
        monkeypatch.setattr(torch.distributed, "all_reduce", self._all_reduce)
        monkeypatch.setattr(torch.distributed, "all_gather", self._all_gather)

    def context(self, rank):
        """Return the context of one rank."""
        context = DistributedContext("cpu")
        context.size, context.rank = self.size, rank
        return context

    def run(self, function):
        """Call a function with the context of each rank, at the same time; return the results, or the errors."""

        def call(rank):
            self._thread.rank = rank
            try:
                return function(self.context(rank))
            except Exception as error:
                return error

        with ThreadPoolExecutor(self.size) as pool:
            return list(pool.map(call, range(self.size)))

    def _exchange(self, tensor):
        self._values[self._thread.rank] = tensor.clone()
        self._barrier.wait()
        values = list(self._values)
        self._barrier.wait()
        return values

    def _all_reduce(self, tensor, operation=ReduceOp.SUM):
        values = torch.stack(self._exchange(tensor))
        tensor.copy_(values.amin(0) if operation == ReduceOp.MIN else values.sum(0))

    def _all_gather(self, into, tensor):
        for each, value in zip(into, self._exchange(tensor), strict=True):
            each.copy_(value)
