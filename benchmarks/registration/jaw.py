"""The real pair: a rat jaw's µCT section and H&E histology (Rodgers et al. 2022), turned, shifted and mirrored.

Shows the overlay as it came, after the affine and after the optional deformation, with mutual information; and that
a copy turned by 37°, shifted and mirrored comes back to the same place.
"""

import argparse
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from tomostain.io import write_image
from tomostain.prepare.qc import checkerboard
from tomostain.register.deformation import deform, warp
from tomostain.register.planar import register_in_plane, resample_on_slice
from tomostain.register.similarity import mutual_information, normalised_mutual_information

PIXEL_UM = 10.23


def read(path: Path) -> NDArray[np.uint8]:
    """Return a 2D image."""
    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))).squeeze().astype(np.uint8)


def moved(
    image: NDArray[np.uint8], angle_deg: float, shift_px: tuple[float, float]
) -> tuple[NDArray[np.uint8], NDArray]:
    """Turn, shift and mirror an image; return it and the 2 × 3 map from its pixels to the original's."""
    angle = np.radians(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1.0, -1.0])
    size = int(np.hypot(*image.shape[:2])) + 40
    middle, old = np.full(2, (size - 1) / 2), (np.array(image.shape[:2]) - 1) / 2
    offset = old - turn @ (middle + np.array(shift_px))
    channels = [
        ndimage.affine_transform(image[..., c], turn, offset, (size, size), order=1, mode="constant", cval=255)
        for c in range(3)
    ]
    return np.stack(channels, axis=-1), np.column_stack([turn, offset])


def main() -> None:
    """Register the pair and the moved copy; write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="Holds microct.mha and histology.mha.")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    ct, inverted = read(options.folder / "microct.mha"), read(options.folder / "histology.mha")
    rgb = np.repeat((255 - inverted)[..., None], 3, axis=2)
    mask = ndimage.binary_dilation(inverted > 30, iterations=10) & (ct > 0)
    found = register_in_plane(ct, PIXEL_UM, rgb, PIXEL_UM)
    aligned = resample_on_slice(found, rgb, PIXEL_UM, ct.shape, PIXEL_UM)
    local = deform(ct, aligned, mask, PIXEL_UM)
    warped = np.clip(np.rint(warp(aligned, local.shift_um / np.float32(PIXEL_UM))), 0, 255).astype(np.uint8)
    for name, image in (("as it came", rgb), ("affine", aligned), ("deformed", warped)):
        grey = image.mean(axis=2)
        bits = mutual_information(ct, grey, mask)
        print(f"{name}: {bits:.4f} bits, normalised {normalised_mutual_information(ct, grey, mask):.4f}")
    print(
        f"largest local shift: {local.largest_um:.0f} µm; strain {np.round(found.section.slide_to_section[:, :2], 4)}"
    )
    turned, to_old = moved(rgb, 37.0, (25.0, -40.0))
    again = register_in_plane(ct, PIXEL_UM, turned, PIXEL_UM)
    points = np.argwhere(mask)[::997].astype(float)
    here = np.linalg.solve(to_old[:, :2], (points - to_old[:, 2]).T).T
    both = [
        f.section.to_volume_um(f.section.slide_to_section_um(p * PIXEL_UM))[:, 1:] / PIXEL_UM
        for f, p in ((found, points), (again, here))
    ]
    apart = np.linalg.norm(both[0] - both[1], axis=1)
    print(f"turned copy: median {np.median(apart):.2f} px, largest {apart.max():.2f} px from the place of the original")
    grey = np.repeat(ct[..., None], 3, axis=2)
    rows = [
        [grey, rgb, turned[: ct.shape[0], : ct.shape[1]]],
        [checkerboard(grey, x, 10) for x in (rgb, aligned, warped)],
    ]
    rows[0] = [np.pad(x, ((0, ct.shape[0] - x.shape[0]), (0, ct.shape[1] - x.shape[1]), (0, 0))) for x in rows[0]]
    picture = np.concatenate([np.concatenate(row, axis=1) for row in rows])[::2, ::2]
    write_image(options.out / "jaw.png", np.ascontiguousarray(picture), overwrite=True)


if __name__ == "__main__":
    main()
