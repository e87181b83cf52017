"""A real pair: µCT section and H&E histology of a rat jaw (Rodgers et al. 2022).

Draws the original overlay, the overlay after the affine and after the optional deformation, with mutual information.
Rotated, shifted and mirrored copies must be registered to the same position.
"""

import argparse
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.integers import to_integers
from tomostain.register.deformation import deform, warp
from tomostain.register.planar import Planar, register_in_plane, resample_on_slice
from tomostain.register.similarity import mutual_information, normalised_mutual_information

PIXEL_UM = 10.23
# Grey values between cavities, soft tissue and bone.
LINES = (60, 140)
# Rotation in degrees and shift in pixels of the mirrored copies.
COPIES = ((37.0, (25.0, -40.0)), (143.0, (-30.0, 10.0)), (260.0, (0.0, 35.0)))


def read(path: Path) -> NDArray[np.uint8]:
    """Return a 2D image."""
    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))).squeeze().astype(np.uint8)


def moved(
    image: NDArray[np.uint8], angle_deg: float, shift_px: tuple[float, float]
) -> tuple[NDArray[np.uint8], NDArray]:
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


def on_slice(registration: Planar, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the positions of slide pixels (N, 2) on the slice, pixels."""
    section = registration.section
    return np.asarray(section.to_volume_um(section.slide_to_section_um(points_px * PIXEL_UM))[:, 1:] / PIXEL_UM)


def draw(path: Path, ct: NDArray[np.uint8], turned: NDArray[np.uint8], images: dict[str, NDArray[np.uint8]]) -> None:
    """Draw the pair, the rotated copy, and µCT edges over the original, the affine and the deformed slide."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13.5, 8.6), layout="constrained")
    smooth = ndimage.gaussian_filter(ct.astype(np.float32), 2.0)
    # Show half of the picture, so that the distance between the lines and the structures is visible.
    half = np.s_[ct.shape[0] // 3 : ct.shape[0] * 5 // 6, ct.shape[1] // 2 :]
    first = {"µCT": ct, "original histology": next(iter(images.values())), "rotated by 37°, shifted, mirrored": turned}
    lines = {f"{name}; lines: edges of the µCT": image[half] for name, image in images.items()}
    for axis, (name, image) in zip(axes.flat, (first | lines).items(), strict=True):
        axis.imshow(image, cmap="gray")
        if name in lines:
            axis.contour(smooth[half], levels=LINES, colors=("#0a64ff", "#ff3c3c"), linewidths=0.9)
        axis.set_title(name, fontsize=10)
        axis.set_axis_off()
    figure.savefig(path, dpi=75)
    plt.close(figure)


def main() -> None:
    """Register the pair and the copies; write the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="Folder with microct.mha and histology.mha.")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    ct, inverted = read(options.folder / "microct.mha"), read(options.folder / "histology.mha")
    rgb = np.repeat((255 - inverted)[..., None], 3, axis=2)
    mask = ndimage.binary_dilation(inverted > 30, iterations=10) & (ct > 0)
    registration = register_in_plane(ct, PIXEL_UM, rgb, PIXEL_UM)
    aligned = resample_on_slice(registration, rgb, PIXEL_UM, ct.shape, PIXEL_UM)
    local = deform(ct, aligned, mask, PIXEL_UM)
    warped = to_integers(warp(aligned, local.shift_um / np.float32(PIXEL_UM)), np.uint8, "warped slide", clip=True)
    images = {}
    for name, image in (("original", rgb), ("affine", aligned), ("deformed", warped)):
        grey = image.mean(axis=2)
        bits = mutual_information(ct, grey, mask)
        print(f"{name}: {bits:.4f} bits, normalised {normalised_mutual_information(ct, grey, mask):.4f}")
        images[f"{name} ({bits:.3f} bits)"] = image
    print(
        f"largest local shift: {local.largest_um:.0f} µm; "
        f"affine {np.round(registration.section.slide_to_section[:, :2], 4)}"
    )
    points = np.argwhere(mask)[::997].astype(float)
    for angle_deg, shift_px in COPIES:
        turned, to_old = moved(rgb, angle_deg, shift_px)
        copy_registration = register_in_plane(ct, PIXEL_UM, turned, PIXEL_UM)
        copy_points = np.linalg.solve(to_old[:, :2], (points - to_old[:, 2]).T).T
        distance = np.linalg.norm(on_slice(registration, points) - on_slice(copy_registration, copy_points), axis=1)
        print(
            f"mirrored copy, rotated by {angle_deg:.0f}°: median {np.median(distance):.2f} px, "
            f"maximum {distance.max():.2f} px from the position of the original"
        )
        if angle_deg == 37.0:
            draw(options.out / "jaw.png", ct, turned, images)


if __name__ == "__main__":
    main()
