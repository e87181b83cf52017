"""Count the operators that torch dispatches: each is at least one launch on a GPU, and some make the host wait."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

# Operators whose result the host needs. Of copies, those to the host wait; they begin with one of the others on a CPU.
WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique")


@dataclass
class Counted:
    """Operators by name.

    Attributes
    ----------
    operators : Counter of str
    """

    operators: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """The number of all operators."""
        return self.operators.total()

    @property
    def synchronisations(self) -> int:
        """The number of those that make the host wait for the device."""
        return sum(n for name, n in self.operators.items() if name.split(".")[1] in WAITING)


class _Counting(TorchDispatchMode):
    def __init__(self, counted: Counted) -> None:
        super().__init__()
        self.counted = counted

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counted.operators[str(function)] += 1
        return function(*args, **(kwargs or {}))


def count_operators(run: Callable[[], object]) -> Counted:
    """Return what `run` dispatches."""
    counted = Counted()
    with _Counting(counted):
        run()
    return counted
