"""The share of the time in which the model computes, while z chunks are read ahead and written behind.

    python -m studies.volumes.overlap OUT [--shape 96 512 512] [--stride 128] [--sigma 1] [--threads 1]

Reading is slow on purpose: float32 slices with zlib, and a Gaussian before staining. Prints the time from the
first read to the last write, the time in the model, and the time of reading and writing.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

from studies.volumes.common import where_and_when
from tests.support.models import LEVELS, grey_volume, random_model
from tomostain.imaging.intensity import IntensityReference
from tomostain.io import open_volume
from tomostain.io.ome_zarr.writer import StainedWriter
from tomostain.stain import StainConfig, stain_volume
from tomostain.stain import chunk as stage


class Clock:
    """Sum of the time of all calls of a function."""

    def __init__(self) -> None:
        self.seconds, self.first, self.last = 0.0, float("inf"), 0.0

    def watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        def timed(*arguments: Any, **keywords: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **keywords)
            finally:
                self.last = time.perf_counter()
                self.first = min(self.first, began)
                self.seconds += self.last - began

        return timed


def zipped_volume(folder: Path, shape: tuple[int, int, int]) -> Path:
    """Write float32 slices that take time to read."""
    if not folder.exists():
        plain = open_volume(grey_volume(folder.with_name(f"{folder.name}-plain"), shape))
        folder.mkdir()
        for z in range(shape[0]):
            image = plain.read(z, z + 1)[0].astype(np.float32)
            tifffile.imwrite(folder / f"slice_{z:05d}.tif", image, compression="zlib")
    return folder


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", type=int, nargs=3, default=[96, 512, 512])
    parser.add_argument("--stride", type=int, default=128)
    parser.add_argument("--sigma", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    model, shape = options.out / "model", tuple(options.shape)
    if not model.exists():
        random_model(model)
    source = zipped_volume(options.out / f"volume-{'x'.join(map(str, shape))}", shape)

    reading, computing, writing = Clock(), Clock(), Clock()
    stage.normalised_chunk = reading.watch(stage.normalised_chunk)
    stage.stain_slice = computing.watch(stage.stain_slice)
    StainedWriter.write = writing.watch(StainedWriter.write)  # type: ignore[method-assign]
    config = StainConfig(patch_px=128, stride_px=options.stride, gaussian_sigma=options.sigma)
    began = time.perf_counter()
    stain_volume(
        model,
        source,
        options.out / "out.ome.zarr",
        config=config,
        intensity=IntensityReference(**LEVELS),
        voxel_um=5.0,
        device="cpu",
        overwrite=True,
    )
    total = time.perf_counter() - began
    chunks_s = writing.last - reading.first
    print(where_and_when())
    columns = (
        "shape",
        "stride / px",
        "z chunks / s",
        "model / s",
        "share",
        "reading / s",
        "writing / s",
        "with pyramid / s",
    )
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    print(
        f"| {' x '.join(map(str, shape))} | {options.stride} | {chunks_s:.1f} | {computing.seconds:.1f} | "
        f"**{100 * computing.seconds / chunks_s:.1f} %** | {reading.seconds:.1f} | {writing.seconds:.1f} | "
        f"{total:.1f} |"
    )


if __name__ == "__main__":
    main()
