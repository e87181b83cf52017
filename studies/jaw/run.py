"""Registration of a real pair, a rat jaw (Rodgers et al. 2022), judged by landmarks that were set by eye.

Prints the distance of the landmarks before and after each kind of registration, for hard and for soft tissue, and draws
the edges of the µCT over the slide. Mutual information is printed to show that it does not follow the distance.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.integers import to_integers
from tomostain.io.csv_files import read_csv
from tomostain.register.deformation import Deformation, deform, warp
from tomostain.register.edge_blocks import edge_shifts, fit_shifts
from tomostain.register.mutual_search import MutualScore, corners_um, refine_rigid, refine_strained
from tomostain.register.planar import MAX_SIDE, Planar, register_in_plane, resample_on_slice
from tomostain.register.planar_images import PlanarImages, planar_images
from tomostain.register.planar_pose import PlanarPose
from tomostain.register.similarity import mutual_information
from tomostain.register.strain_prior import STRAIN_PARAFFIN, effective_samples

PIXEL_UM = 10.23
LANDMARKS = Path(__file__).with_name("landmarks.csv")
# Grey values between cavities, soft tissue and bone.
LINES = (60, 140)
# Rotation in degrees and shift in pixels of the mirrored copies.
COPIES = ((37.0, (25.0, -40.0)), (143.0, (-30.0, 10.0)), (260.0, (0.0, 35.0)))
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Landmarks:
    """Matching points on the µCT and on the histology (row, column), pixels."""

    ct: Points
    histology: Points
    hard: NDArray[np.bool_]

    def distances(self, moved: Points) -> tuple[float, float, float]:
        """Return the mean distance of moved histology points: all, hard tissue, soft tissue."""
        distance = np.linalg.norm(moved - self.ct, axis=1)
        return float(distance.mean()), float(distance[self.hard].mean()), float(distance[~self.hard].mean())


def read_landmarks(path: Path = LANDMARKS) -> Landmarks:
    """Read the table of landmarks."""
    rows = read_csv(path).rows
    points = {
        name: np.array([[float(row[f"{name}_{axis}_px"]) for axis in ("row", "column")] for row in rows])
        for name in ("ct", "histology")
    }
    return Landmarks(points["ct"], points["histology"], np.array([row["tissue"] == "hard" for row in rows]))


def read(path: Path) -> NDArray[np.uint8]:
    """Return a 2D image."""
    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))).squeeze().astype(np.uint8)


def moved_copy(
    image: NDArray[np.uint8], angle_deg: float, shift_px: tuple[float, float]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Rotate, shift and mirror an image; return it and the 2 × 3 matrix from its pixels to those of the original."""
    angle = np.radians(angle_deg)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1.0, -1.0])
    size = int(np.hypot(*image.shape[:2])) + 40
    middle, middle_of_original = np.full(2, (size - 1) / 2), (np.array(image.shape[:2]) - 1) / 2
    offset = middle_of_original - rotation @ (middle + np.array(shift_px))
    channels = [
        ndimage.affine_transform(image[..., c], rotation, offset, (size, size), order=1, mode="constant", cval=255)
        for c in range(3)
    ]
    return np.stack(channels, axis=-1), np.column_stack([rotation, offset])


def on_slice(registration: Planar, points_px: Points) -> Points:
    """Return the positions of slide pixels (N, 2) on the slice, pixels."""
    section = registration.section
    return np.asarray(section.to_volume_um(section.slide_to_section_um(points_px * PIXEL_UM))[:, 1:] / PIXEL_UM)


def deformed(deformation: Deformation, points_px: Points) -> Points:
    """Return where the deformation puts points of the resampled slide: x with x + shift(x) = point."""
    moved = points_px.copy()
    for _ in range(20):
        shift = [
            ndimage.map_coordinates(deformation.shift_um[..., i], moved.T, order=1, mode="nearest") for i in range(2)
        ]
        moved = points_px - np.stack(shift, axis=1) / PIXEL_UM
    return moved


def kinds_of_transform(images: PlanarImages) -> dict[str, PlanarPose]:
    """Return the transforms among which the held-out edges choose, each for itself."""
    score, reach_um = MutualScore(images), images.size_um / 3
    start = PlanarPose.as_given(images.middle_um)
    rigid = refine_rigid(score, start, 3 * images.pixel_um, reach_um)
    samples = effective_samples([images.ct, images.grey], images.valid & images.tissue)
    base = start
    for _ in range(2):
        base = base.after(*fit_shifts(edge_shifts(images, base), base.middle_um, None))
    shifts = edge_shifts(images, base)
    options = (images.pixel_um, reach_um)
    return {
        "rigid, mutual information": rigid,
        "affine, mutual information, no prior": refine_strained(score, rigid, *options, 1e9, 0.03),
        "affine, mutual information, prior": refine_strained(score, rigid, *options, samples, STRAIN_PARAFFIN),
        "rigid, edges": base.after(*fit_shifts(shifts, base.middle_um, None)),
        "affine, edges, prior": base.after(*fit_shifts(shifts, base.middle_um, STRAIN_PARAFFIN)),
    }


def inverse_consistency_px(images: PlanarImages, pose: PlanarPose) -> float:
    """Return the mean distance between the pose and the inverse of the pose that is fitted with the images swapped."""
    swapped = PlanarImages(
        images.grey, images.tissue, np.repeat(images.ct[..., None], 3, axis=2), images.valid, images.pixel_um
    )
    backwards = PlanarPose.as_given(swapped.middle_um)
    for _ in range(3):
        backwards = backwards.after(*fit_shifts(edge_shifts(swapped, backwards), backwards.middle_um, None))
    points = corners_um(images)
    return float(np.linalg.norm(backwards.points_um(pose.points_um(points)) - points, axis=1).mean() / PIXEL_UM)


def draw(path: Path, ct: NDArray[np.uint8], images: dict[str, NDArray[np.uint8]], landmarks: Landmarks) -> None:
    """Draw µCT and slide with the landmarks, and µCT edges over each image of the slide."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(13.5, 11.0), layout="constrained")
    smooth = ndimage.gaussian_filter(ct.astype(np.float32), 2.0)
    names = list(images)
    views = [("µCT and landmarks", ct, landmarks.ct), (names[0], images[names[0]], landmarks.histology)]
    views += [(name, images[name], None) for name in names[1:3]]
    half = (slice(ct.shape[0] // 3, ct.shape[0] * 5 // 6), slice(ct.shape[1] // 3, None))
    for axis, (name, image, points) in zip(axes.flat, views, strict=True):
        axis.imshow(image if points is not None else image[half], cmap="gray")
        if points is not None:
            axis.scatter(points[:, 1], points[:, 0], s=18, c=np.where(landmarks.hard, "#ffb000", "#ff3c3c"))
        else:
            axis.contour(smooth[half], levels=LINES, colors=("#0a64ff", "#ff3c3c"), linewidths=0.9)
        axis.set_title(name, fontsize=10)
        axis.set_axis_off()
    figure.savefig(path, dpi=75)
    plt.close(figure)


def main() -> None:
    """Print the table and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="Folder with microct.mha and histology.mha.")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    ct, inverted = read(options.folder / "microct.mha"), read(options.folder / "histology.mha")
    rgb = np.repeat((255 - inverted)[..., None], 3, axis=2)
    landmarks = read_landmarks()
    mask = ndimage.binary_dilation(inverted > 30, iterations=10) & (ct > 0)

    def report(name: str, place: Callable[[Points], Points], image: NDArray[np.uint8] | None = None) -> None:
        distances = landmarks.distances(place(landmarks.histology))
        bits = "" if image is None else f"; {mutual_information(ct, image.mean(axis=2), mask):.3f} bits"
        print(f"{name}: {distances[0]:.2f} px; hard {distances[1]:.2f}, soft {distances[2]:.2f}{bits}")

    report("before", lambda points: points, rgb)
    images = planar_images(ct, PIXEL_UM, rgb, PIXEL_UM, MAX_SIDE)
    for name, pose in kinds_of_transform(images).items():
        report(name, lambda points, pose=pose: pose.points_um(points * PIXEL_UM) / PIXEL_UM)
    begin = time.process_time()
    chosen = register_in_plane(ct, PIXEL_UM, rgb, PIXEL_UM)
    seconds = time.process_time() - begin
    aligned = resample_on_slice(chosen, rgb, PIXEL_UM, ct.shape, PIXEL_UM)
    report("chosen: " + chosen.evidence.transform, lambda points: on_slice(chosen, points), aligned)
    local = deform(ct, aligned, mask, PIXEL_UM)
    warped = to_integers(warp(aligned, local.shift_um / np.float32(PIXEL_UM)), np.uint8, "warped slide", clip=True)
    report("chosen, then deformed", lambda points: deformed(local, on_slice(chosen, points)), warped)
    evidence = chosen.evidence
    print(f"confidence {evidence.confidence:.2f}: {evidence.describe()}; {seconds:.1f} s of processor time")
    pose = PlanarPose.from_section(chosen.section, images.middle_um)
    print(f"halves {evidence.halves_um / PIXEL_UM:.2f} px, inverse {inverse_consistency_px(images, pose):.2f} px")
    for angle_deg, shift_px in COPIES:
        turned, to_old = moved_copy(rgb, angle_deg, shift_px)
        copy = register_in_plane(ct, PIXEL_UM, turned, PIXEL_UM)
        inverse = np.linalg.inv(to_old[:, :2]).T
        name = f"mirrored copy, rotated by {angle_deg:.0f}° (confidence {copy.evidence.confidence:.2f})"
        report(
            name,
            lambda points, copy=copy, to_old=to_old, inverse=inverse: on_slice(copy, (points - to_old[:, 2]) @ inverse),
        )
    shown = {"slide and landmarks": rgb, "as given; lines: edges of the µCT": rgb, "registered": aligned}
    draw(options.out / "jaw.png", ct, shown, landmarks)


if __name__ == "__main__":
    main()
