"""Peak memory of staining against the number of slices: each volume in a separate process.

    python -m studies.volumes.memory OUT [--depths 300 1200] [--side 256] [--planes z]

Prints the peak resident memory of each process, and of a process that imports everything and stains 8 slices.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from studies.volumes.common import where_and_when
from tests.support.models import LEVELS, grey_volume, random_model

CODE = """
import sys, torch
from pathlib import Path
from tomostain.prepare import IntensityReference
from tomostain.stain import StainConfig, stain_volume
torch.set_num_threads(1)
model, volume, out, planes = sys.argv[1:]
config = StainConfig(patch_px=128, stride_px=128, z_chunk=16, planes=planes)
levels = IntensityReference({background}, {bone})
stain_volume(Path(model), Path(volume), Path(out), config=config, intensity=levels, overwrite=True)
# Not ru_maxrss, which a child inherits from its parent.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_mb(model: Path, volume: Path, out: Path, planes: str) -> float:
    """Return the peak resident memory of a process that stains a volume, MB."""
    command = [sys.executable, "-c", CODE.format(**LEVELS), *map(str, (model, volume, out)), planes]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(process.stdout.split()[-1]) / 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--depths", type=int, nargs="+", default=[300, 1200])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--planes", default="z")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    model = (
        random_model(options.out / "model", width=4) if not (options.out / "model").exists() else options.out / "model"
    )
    print(where_and_when(), "\n| slices | peak / MB | relative to the first |\n|---|---|---|", sep="\n", flush=True)
    first_peak = None
    for depth in (8, *options.depths):
        volume = options.out / f"volume-{depth}"
        if not volume.exists():
            grey_volume(volume, (depth, options.side, options.side))
        peak = peak_mb(model, volume, options.out / f"{depth}.ome.zarr", options.planes)
        if depth != 8:
            first_peak = first_peak or peak
        print(f"| {depth} | {peak:.0f} | {peak / first_peak if first_peak else float('nan'):.3f} |", flush=True)


if __name__ == "__main__":
    main()
