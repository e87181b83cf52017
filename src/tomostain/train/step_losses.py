"""The losses of a training step. They stay on the device until they are read: reading makes the host wait."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

Parts = Mapping[str, Sequence[Tensor]]
"""Each loss by name, for each part of the batch."""
SKIPPED = {"generators": "skipped_generators", "discriminators": "skipped_discriminators"}
"""Names of the scalars among them that are no losses: 1 if the step of these networks was left out."""


class StepLosses(Mapping[str, float]):
    """The losses of one step by name: means over the parts of the batch.

    The first access copies all of them from the device, which waits until the device has computed them.

    Parameters
    ----------
    step : int
        Number of the step, from 1.
    parts : mapping of str to sequence of Tensor
        Detached scalars: the losses, and those of `SKIPPED`.

    Examples
    --------
    >>> losses = StepLosses(1, {"l1": [torch.tensor(0.25), torch.tensor(0.75)]})
    >>> losses["l1"], losses == {"l1": 0.5}
    (0.5, True)
    """

    def __init__(self, step: int, parts: Parts) -> None:
        self.step = step
        self._parts: Parts | None = parts
        self._names = [name for name in parts if name not in SKIPPED.values()]
        self._values: dict[str, float] = {}
        self._skipped: list[str] = []

    def read(self) -> dict[str, float]:
        """Return the losses as numbers."""
        if self._parts is not None:
            read_together([self])
        return self._values

    @property
    def skipped(self) -> list[str]:
        """The networks whose step was left out because a gradient was not finite."""
        self.read()
        return self._skipped

    def replace(self, values: Mapping[str, float]) -> None:
        """Replace the numbers, by their means over several processes."""
        self._values = dict(values)

    def __getitem__(self, name: str) -> float:
        """Return one loss."""
        return self.read()[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of losses."""
        return len(self._names)

    def __repr__(self) -> str:
        """Return the losses as those of a dict."""
        return f"StepLosses({self.read()})"


def read_together(losses: Sequence[StepLosses]) -> None:
    """Read the losses of several steps by one copy from the device."""
    unread = [each for each in losses if each._parts is not None]
    scalars = [scalar for each in unread for parts in (each._parts or {}).values() for scalar in parts]
    if not scalars:
        return
    values = iter(torch.stack([scalar.double() for scalar in scalars]).tolist())
    for each in unread:
        for name, parts in (each._parts or {}).items():
            # In the order and the precision of the host, as if each had been read at once.
            total = 0.0
            for _ in parts:
                total += next(values) / len(parts)
            each._values[name] = total
        each._skipped = [networks for networks, name in SKIPPED.items() if each._values.pop(name, 0.0)]
        each._parts = None
