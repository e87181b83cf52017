"""One hostile input: how it is made, which commands read it, and which answers are good."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tomostain.integers import to_integers

# `refuse`: it must be refused. `same`: refused, or the same result as from the undamaged file.
# `any`: nothing in the file shows that it was altered, so any quick and quiet answer is correct.
# `right`: the input is undamaged, and every command must succeed; otherwise refusals would prove nothing.
Expectation = Literal["refuse", "same", "any", "right"]
Rng = np.random.Generator
Command = tuple[str, ...]

VOXEL_UM = 20.0
SHAPE = (6, 40, 48)


@dataclass(frozen=True)
class Case:
    """A hostile input.

    Attributes
    ----------
    kind : str
        "tiff", "yaml" …: a row of the report.
    operator : str
        How it was made.
    make : callable
        Writes it into an empty folder, which is next to the folder ``outside``.
    commands : tuple
        Command lines that read it, run in that folder. ``WORLD`` in a word stands for the folder of good inputs.
    expect : {"refuse", "same", "any", "right"}
    probe : str or None
        The volume that is read as a whole, to compare it with `volume_values`.
    outside : bool
        Files outside the folder may be opened, because a link in the folder of the user points there.
    """

    kind: str
    operator: str
    make: Callable[[Path, Rng], None]
    commands: tuple[Command, ...]
    expect: Expectation = "same"
    probe: str | None = None
    outside: bool = False


@dataclass
class World:
    """Valid inputs that the commands need in addition to the hostile one."""

    folder: Path
    digest: str = ""
    bases: dict[str, Callable[[Path], None]] = field(default_factory=dict)


def volume_values() -> NDArray[np.uint16]:
    """Return the values of all volumes before the damage: background, bone, and a different mean in every slice."""
    rng = np.random.default_rng(7)
    bone = np.kron(rng.random((SHAPE[0], 5, 6)) < 0.5, np.ones((1, 8, 8), bool))
    values = np.where(bone, 30000, 10000) + rng.normal(0, 300, SHAPE) + 20 * np.arange(SHAPE[0])[:, None, None]
    return to_integers(values, np.uint16, "values of the volume")


def slide_values() -> NDArray[np.uint8]:
    """Return the colours of all slides before the damage."""
    y, x = np.mgrid[0:96, 0:128]
    return np.stack([230 - y, 120 + x // 2, 200 - (x + y) // 3], -1).astype(np.uint8)


def digest_of(values: NDArray[np.generic]) -> str:
    """Return a digest of shape and values, whatever the number type."""
    return hashlib.sha256(f"{values.shape}".encode() + np.asarray(values, np.float32).tobytes()).hexdigest()[:16]


def probe_volume(path: str, dataset: str | None = None) -> int:
    """Read a volume as a whole and print its digest; an exit code as the command line has."""
    import sys
    import warnings

    from tomostain.errors import InputError, OutOfDistributionWarning
    from tomostain.io import open_volume

    def warn(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        """Print a warning as the command line does."""
        is_ood = issubclass(category, OutOfDistributionWarning)
        print(f"{'warning' if is_ood else category.__name__}: {message}", file=sys.stderr)

    warnings.showwarning = warn
    try:
        volume = open_volume(path, voxel_um=VOXEL_UM, dataset=dataset)
        total = int(np.prod(volume.shape, dtype=np.float64))
        if total > 1 << 26:
            print(f"large {volume.shape}")
            volume.read(0, 1)
            return 0
        print(digest_of(volume.read(0, volume.shape[0])))
    except InputError as error:
        print(f"tomostain: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0
