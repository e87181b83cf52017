"""Memory and time at the size of a beamline: a TIFF folder of 1500³ voxels of 5 µm, and a slide of 9000² px of 0.83 µm.

The volume is a phantom grown at 20 µm (375³ voxels), enlarged four times slice by slice, with noise at full resolution.
The slide is drawn from the same anatomy at 2.5 µm and enlarged three times. The registration runs in a separate
process, to measure its peak memory.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tifffile
import yaml
from scipy import ndimage

from tomostain.integers import to_integers
from tomostain.io import write_slide
from tomostain.phantom import PhantomConfig
from tomostain.phantom.anatomy import grow_anatomy
from tomostain.phantom.laboratory import make_slide
from tomostain.phantom.pose import section_through_screw
from tomostain.phantom.tomography import tomograph

FACTOR = 4
SLIDE_FACTOR = 3


def generate(out: Path, side: int, seed: int, pixel_um: float) -> None:
    """Write ``out/volume/*.tif`` of side³ voxels of 5 µm, ``slide.ome.tif`` and ``truth.yaml``."""
    values = {"seed": seed, "material": "Mg-10Gd", "shape": (side // FACTOR,) * 3, "voxel_um": 5.0 * FACTOR}
    lab = {"turn_deg": 200.0, "mirrored": True}
    config = PhantomConfig.from_dict(values | {"pixel_um": pixel_um, "laboratory": lab})
    anatomy = grow_anatomy(config)
    volume, _ = tomograph(anatomy)
    folder = out / "volume"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    # A fine voxel's centre in coarse voxels; the coarse volume's first centre stays at 0.
    fine = np.arange(side) / FACTOR
    for z in range(side):
        low = min(int(fine[z]), len(volume) - 1)
        high, part = min(low + 1, len(volume) - 1), fine[z] - low
        plane = (1 - part) * volume[low].astype(np.float32) + part * volume[high].astype(np.float32)
        image = ndimage.affine_transform(plane, [1 / FACTOR] * 2, output_shape=(side, side), order=1, mode="nearest")
        image += rng.normal(0, 600, image.shape)
        tifffile.imwrite(folder / f"reco_{z:06d}.tif", to_integers(image, np.uint16, "slice", rounded=False, clip=True))
    section, shape = section_through_screw(config, anatomy.pose)
    slide = make_slide(anatomy, section, shape)
    # Pixels are repeated, so positions on the slide in µm change only by the shift of the centre of the first pixel.
    rgb = slide.rgb.repeat(SLIDE_FACTOR, axis=0).repeat(SLIDE_FACTOR, axis=1)
    write_slide(out / "slide.ome.tif", rgb, config.pixel_um / SLIDE_FACTOR)
    (out / "truth.yaml").write_text(yaml.safe_dump(slide.section.to_dict() | {"pixel_um": config.pixel_um}))


def main() -> None:
    """Generate and register, then print time, peak memory and error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--pixel-um", type=float, default=2.5)
    options = parser.parse_args()
    if not (options.out / "truth.yaml").exists():
        start = time.perf_counter()
        generate(options.out, options.side, options.seed, options.pixel_um)
        print(f"generated in {time.perf_counter() - start:.0f} s", flush=True)
    pair = options.out / "pair"
    command = [str(Path(sys.executable).with_name("tomostain")), "register", str(options.out / "volume")]
    command += [str(options.out / "slide.ome.tif"), str(pair), "--voxel-um", "5", "--overwrite"]
    start = time.perf_counter()
    process = subprocess.run(
        ["/usr/bin/time", "-f", "%M kB peak", *command], capture_output=True, text=True, check=False
    )
    print(process.stdout, process.stderr.splitlines()[-1], f"{time.perf_counter() - start:.0f} s", flush=True)
    from tomostain.register.hints import read_section

    registered, truth = read_section(pair / "pair.yaml"), read_section(options.out / "truth.yaml")
    u = np.random.default_rng(0).uniform(0.25, 0.75, (300, 2)) * options.side * 5.0
    # The origin is the centre of the first pixel. In the coarser slide of the truth it is further from the corner.
    origin_shift_um = (SLIDE_FACTOR - 1) / 2 * options.pixel_um / SLIDE_FACTOR
    positions = [s.to_volume_um(s.slide_to_section_um(v)) for s, v in ((registered, u + origin_shift_um), (truth, u))]
    error = np.linalg.norm(positions[0] - positions[1], axis=1)
    print(f"target error: median {np.median(error):.1f} µm, 95th percentile {np.percentile(error, 95):.1f} µm")


if __name__ == "__main__":
    main()
