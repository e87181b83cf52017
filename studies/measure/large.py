"""A stained volume of 600³ voxels and its µCT, for time and memory of `tomostain measure`.

    python -m studies.measure.large STAINED CT OUT [--side 600] [--factor 3]
    /usr/bin/time -v tomostain measure OUT/stained OUT/measures --ct OUT/ct --geometry m2-screw --weeks 8

Every voxel of a specimen is repeated in the three directions. The voxel size is kept, because the built-in classifiers
have one: the implant is then three times as large as a real one.
"""

import argparse
from pathlib import Path

import numpy as np

from tomostain.io import create_stained, open_stained, open_volume, write_stack


def main() -> None:
    """Write the volumes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("stained", "ct", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--side", type=int, default=600)
    parser.add_argument("--factor", type=int, default=3)
    options = parser.parse_args()
    stained, ct, factor = open_stained(options.stained), open_volume(options.ct), options.factor
    side = min(options.side, factor * min(stained.shape))
    grey = np.asarray(ct).repeat(factor, 0)[:side].repeat(factor, 1)[:, :side].repeat(factor, 2)[:, :, :side]
    write_stack(options.out / "ct", grey, voxel_um=ct.voxel_um)
    source = {"name": "ct", "fingerprint": open_volume(options.out / "ct").fingerprint()}
    provenance = stained.provenance | {"input": source}
    shape = (side,) * 3
    writer = create_stained(options.out / "stained", shape, stained.voxel_um, z_chunk=factor * 4, provenance=provenance)
    for start, stop in writer.pending():
        planes = stained.read(start // factor, -(-stop // factor))
        large = planes.repeat(factor, 0).repeat(factor, 1).repeat(factor, 2)[: stop - start, :side, :side]
        writer.write(start, np.ascontiguousarray(large))
    writer.finish()


if __name__ == "__main__":
    main()
