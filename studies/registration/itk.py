"""Comparison with SimpleITK: Mattes' mutual information, from the identity pose and from the perturbed truth.

The usual application of the library: the grey values of the slide as an image of one slice, a mask of the tissue, a
pyramid of three levels (computed here, because that of ITK does not support images of one slice), a rigid transform,
Powell's optimiser with steps scaled by physical shift. The error measure is that of run.py. Existing results are
reused.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import yaml
from numpy.typing import NDArray

from studies.registration.run import truth_points

Float = NDArray[np.float64]
STARTS = ("identity", "perturbed")
TURN_DEG, SHIFT_VOXELS = 10.0, 10.0
# Voxels along the longest side at each level, coarse to fine.
SIDES = (56, 112, 224)


def fixed_image(grey: NDArray[np.float32], pixel_um: float, corner: Float, frame: Float) -> sitk.Image:
    """Return an image of one slice whose pixel (0, 0) lies at `corner`; columns of `frame`: row, column, normal."""
    image = sitk.GetImageFromArray(grey[None])
    image.SetSpacing([pixel_um] * 3)
    # ITK's order is (x, y, z): image axis 0 runs along columns.
    image.SetOrigin([float(x) for x in corner[::-1]])
    axes = np.stack([frame[::-1, 1], frame[::-1, 0], frame[::-1, 2]], axis=1)
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    image.SetDirection(axes.ravel().tolist())
    return image


def moving_image(values: NDArray[np.float32], voxel_um: float, origin_um: Float) -> sitk.Image:
    """Return the volume in the same coordinates."""
    image = sitk.GetImageFromArray(values)
    image.SetSpacing([voxel_um] * 3)
    image.SetOrigin([float(x) for x in origin_um[::-1]])
    return image


def register(
    levels: list[tuple[sitk.Image, sitk.Image, sitk.Image]], centre: Float, turn: Float, shift: Float
) -> sitk.Euler3DTransform:
    """Refine a rigid transform about `centre` through (fixed, mask, moving), coarse to fine."""
    transform = sitk.Euler3DTransform()
    transform.SetCenter([float(x) for x in centre[::-1]])
    transform.SetRotation(*[float(x) for x in turn[::-1]])
    transform.SetTranslation([float(x) for x in shift[::-1]])
    for fixed, mask, moving in levels:
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricFixedMask(mask)
        method.SetInterpolator(sitk.sitkLinear)
        voxel_um = moving.GetSpacing()[0]
        # In a trial, Powell's method was better than gradient descent (two settings) and line searches.
        method.SetOptimizerAsPowell(30, 50, 0.5 * voxel_um, 1e-3 * voxel_um, 1e-7)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(transform, inPlace=True)
        method.Execute(fixed, moving)
    return transform


def _itk(matrix_like: Any, points: Float) -> Float:
    """Apply a transform to points (N, 3) in (z, y, x)."""
    return np.array([matrix_like.TransformPoint([float(x) for x in p[::-1]])[::-1] for p in points])


def register_one(folder: Path, stain: str, start: str, result: Path, seed: int) -> None:
    """Register one slide from one start; write the errors as JSON."""
    from tomostain.geometry.section import Section
    from tomostain.imaging.intensity_estimation import volume_reference
    from tomostain.imaging.slide_reference import shrink_slide, slide_reference
    from tomostain.io import open_slide, open_volume
    from tomostain.register.resolution import coarser, read_coarse
    from tomostain.register.template import make_template

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    began = time.perf_counter()
    volume, slide = open_volume(folder / "volume"), open_slide(folder / f"{stain}.ome.tif")
    level = read_coarse(volume, volume_reference(volume), 256)
    truth = yaml.safe_load((folder / f"{stain}.yaml").read_text(encoding="utf-8"))
    real = Section.from_dict(truth)
    factor = truth["pixel_um"] / slide.pixel_um
    side_um = float(level.side_um.max())
    levels = []
    rng = np.random.default_rng(seed)
    for side in SIDES:
        coarse = coarser(level, side_um / (side - 1))
        voxel_um = float(coarse.voxel_um.max())
        rgb, pixel_um, first_um = shrink_slide(slide, voxel_um)
        # Estimate white on the whole slide at a finer level. The coarsest level may contain very little glass.
        template = make_template(rgb, pixel_um, first_um, colour_reference=slide_reference(slide))
        middle = template.middle_um
        if start == "identity":
            frame = np.eye(3)[:, [1, 2, 0]]
            centre = level.middle_um.numpy().astype(float)
        else:
            # The truth without its strain, in the correct orientation.
            linear = np.column_stack([real.row, real.column]) @ real.slide_to_section[:, :2]
            u, _, v = np.linalg.svd(linear, full_matrices=False)
            plane = u @ v
            frame = np.column_stack([plane, np.cross(plane[:, 0], plane[:, 1])])
            centre = truth_points(truth, middle[None], factor)[0]
        corner = centre + frame[:, :2] @ (first_um - middle)
        grey = rgb.mean(axis=2).astype(np.float32)
        mask = fixed_image((template.weight > 0).astype(np.float32), pixel_um, corner, frame)
        levels.append(
            (
                fixed_image(grey, pixel_um, corner, frame),
                sitk.Cast(mask, sitk.sitkUInt8),
                moving_image(coarse.values.numpy(), voxel_um, coarse.origin_um.numpy().astype(float)),
            )
        )
    turn, shift = np.zeros(3), np.zeros(3)
    if start == "perturbed":
        turn, shift = rng.normal(size=3), rng.normal(size=3)
        turn *= np.radians(TURN_DEG) / np.linalg.norm(turn)
        shift *= SHIFT_VOXELS * volume.voxel_um[0] / np.linalg.norm(shift)
    record: dict[str, Any] = {"volume": folder.name, "slide": stain, "start": start}
    try:
        transform = register(levels, centre, turn, shift)
        u_um = template.picture(100.0).u_um.numpy() + middle
        points = _itk(transform, centre + (u_um - middle) @ frame[:, :2].T)
        true_points = truth_points(truth, u_um, factor)
        distance = np.linalg.norm(points - true_points, axis=1) / volume.voxel_um[0]
        normal = _itk(transform, np.stack([centre, centre + frame[:, 2]]))
        angle = np.degrees(np.arccos(min(1.0, abs(float((normal[1] - normal[0]) @ real.normal)))))
        record |= {
            "plane_voxel": float((np.abs((points - true_points) @ real.normal) / volume.voxel_um[0]).mean()),
            "angle_deg": float(angle),
            "target_voxel": float(np.median(distance)),
            "target95_voxel": float(np.percentile(distance, 95)),
        }
    except RuntimeError as error:
        # ITK raises an error if the images no longer overlap.
        record["error"] = str(error).splitlines()[-1]
    record["seconds"] = time.perf_counter() - began
    result.write_text(json.dumps(record, indent=1), encoding="utf-8")


def main() -> None:
    """Register every n-th specimen from both starts, and print how many come within 2 voxels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("specimens", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--stain", default="toluidine-blue")
    parser.add_argument("--only", default="s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    folders = sorted(p for p in options.specimens.glob(f"{options.only}*") if (p / "volume").is_dir())
    jobs = [
        (folder, options.stain, start, options.out / f"{folder.name}-{options.stain}-{start}.json", options.seed)
        for folder in folders[:: options.every]
        for start in STARTS
    ]
    with ProcessPoolExecutor(options.jobs) as pool:
        for done in [pool.submit(register_one, *job) for job in jobs if not job[3].exists()]:
            done.result()
    for start in STARTS:
        records = [json.loads(job[3].read_text(encoding="utf-8")) for job in jobs if job[2] == start]
        plane = np.array([r.get("plane_voxel", np.inf) for r in records])
        target = np.array([r.get("target_voxel", np.inf) for r in records])
        seconds, good = np.median([r["seconds"] for r in records]), int(((plane < 2) & (target < 5)).sum())
        print(
            f"SimpleITK from {start}: {len(records)} slides, plane within 2 voxels and target within 5: {good}; "
            f"median target error {np.median(target):.1f} voxels; {seconds:.0f} s"
        )


if __name__ == "__main__":
    main()
