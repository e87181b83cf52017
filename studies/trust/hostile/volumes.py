"""Volumes of every format, undamaged and with the damages that any file can have."""

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from studies.trust.hostile.case import SHAPE, VOXEL_UM, Case, Command, Expectation, Rng, volume_values
from studies.trust.hostile.operators import OPERATORS

SIZE = str(VOXEL_UM)
MM = VOXEL_UM / 1000


def readers(name: str, number: int) -> tuple[Command, ...]:
    """Return the commands that read a volume: `check`, and one or two of the others in turn."""
    others: tuple[Command, ...] = (
        ("stain", "WORLD/model", name, "out.ome.zarr", "--voxel-um", SIZE, "--background", "10000", "--bone", "30000"),
        ("resample", name, "out-slices", "--voxel-um", "40", "--input-voxel-um", SIZE),
        ("view", name, "--voxel-um", SIZE, "--out", "out-view"),
        ("register", name, "WORLD/specimen/slide.ome.tif", "out-pair", "--voxel-um", SIZE, "--dry-run"),
        ("stain", "WORLD/model", name, "out2.ome.zarr", "--voxel-um", SIZE),
        ("section", "WORLD/stained.ome.zarr", "out.ome.tif", "--axis", "z", "--through", "40,0,0", "--ct", name),
        (
            "export",
            "WORLD/stained.ome.zarr",
            "out",
            "--to",
            "rgba-tiff",
            "--alpha",
            "ct",
            "--ct",
            name,
            "--voxel-um",
            SIZE,
        ),
        ("check", "WORLD/run/model", "--against", name, "--voxel-um", SIZE),
    )
    return (("check", name, "--voxel-um", SIZE), others[number % len(others)])


class Counter:
    """Numbers the cases, so that the verbs take turns."""

    def __init__(self) -> None:
        self.value = -1

    def __call__(self) -> int:
        self.value += 1
        return self.value


COUNT = Counter()


def case(kind: str, operator: str, name: str, make: Callable[[Path, Rng], Any], expect: Expectation = "same") -> Case:
    """Return a case of a volume."""
    return Case(kind, operator, make, readers(name, COUNT()), expect, name)


# --- undamaged files: name → (writer, main path, files that are damaged)
def plain_tiff(folder: Path) -> None:
    import tifffile

    tifffile.imwrite(folder / "v.tif", volume_values(), photometric="minisblack", metadata=None)


def imagej_tiff(folder: Path) -> None:
    import tifffile

    tifffile.imwrite(
        folder / "v.tif",
        volume_values(),
        imagej=True,
        resolution=(1 / VOXEL_UM,) * 2,
        metadata={"spacing": VOXEL_UM, "unit": "um"},
    )


def ome_tiff(folder: Path) -> None:
    import tifffile

    size = {f"PhysicalSize{axis}": VOXEL_UM for axis in "XYZ"}
    tifffile.imwrite(folder / "v.ome.tif", volume_values(), metadata={"axes": "ZYX"} | size, compression="zlib")


def tiled_tiff(folder: Path) -> None:
    import tifffile

    tifffile.imwrite(
        folder / "v.tif",
        volume_values(),
        photometric="minisblack",
        metadata=None,
        tile=(16, 16),
        compression="zlib",
        bigtiff=True,
    )


def tiff_slices(folder: Path) -> None:
    import tifffile

    (folder / "v").mkdir()
    for index, image in enumerate(volume_values()):
        tifffile.imwrite(folder / f"v/s_{index:03d}.tif", image)


def hdf5(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "v.h5", "w") as file:
        file.create_dataset("data", data=volume_values())


def chunked_hdf5(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "v.h5", "w") as file:
        data = file.create_dataset(
            "entry/data", data=volume_values(), chunks=(2, 20, 24), compression="gzip", fletcher32=True
        )
        data.attrs["element_size_um"] = [VOXEL_UM] * 3


def zarr_array(version: int) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        import zarr

        array = zarr.create_array(folder / "v.zarr", shape=SHAPE, chunks=(2, 20, 24), dtype="u2", zarr_format=version)
        array[...] = volume_values()

    return write


def ome_zarr(folder: Path) -> None:
    import zarr

    group = zarr.open_group(folder / "v.zarr", mode="w", zarr_format=2)
    group.create_array("0", shape=SHAPE, chunks=(3, 40, 48), dtype="u2")[...] = volume_values()
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [VOXEL_UM] * 3}]
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    ]


def nrrd_header(**changes: str) -> str:
    """Return a NRRD header; None removes a field."""
    fields = {
        "type": "uint16",
        "dimension": "3",
        "sizes": f"{SHAPE[2]} {SHAPE[1]} {SHAPE[0]}",
        "endian": "little",
        "encoding": "raw",
        "space dimension": "3",
        "space directions": f"({MM},0,0) (0,{MM},0) (0,0,{MM})",
        "space units": '"mm" "mm" "mm"',
        "space origin": "(0,0,0)",
    } | {key.replace("_", " "): value for key, value in changes.items()}
    return "NRRD0005\n" + "".join(f"{key}: {value}\n" for key, value in fields.items() if value is not None)


def write_nrrd(path: Path, data: bytes | None = None, **changes: str) -> None:
    """Write a NRRD with its values, or a header without values."""
    path.write_bytes(nrrd_header(**changes).encode() + (b"\n" + data if data is not None else b""))


def nrrd(folder: Path) -> None:
    write_nrrd(folder / "v.nrrd", volume_values().tobytes())


def gzip_nrrd(folder: Path) -> None:
    write_nrrd(folder / "v.nrrd", gzip.compress(volume_values().tobytes()), encoding="gzip")


def detached_nrrd(folder: Path) -> None:
    (folder / "v.raw").write_bytes(volume_values().tobytes())
    write_nrrd(folder / "v.nhdr", data_file="v.raw")


def mhd_header(**changes: str) -> str:
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "DimSize": f"{SHAPE[2]} {SHAPE[1]} {SHAPE[0]}",
        "ElementSpacing": f"{MM} {MM} {MM}",
        "ElementType": "MET_USHORT",
        "ElementDataFile": "v.raw",
    } | changes
    fields["ElementDataFile"] = fields.pop("ElementDataFile")  # what follows it belongs to the values
    return "".join(f"{key} = {value}\n" for key, value in fields.items() if value is not None)


def mhd(folder: Path) -> None:
    (folder / "v.raw").write_bytes(volume_values().tobytes())
    (folder / "v.mhd").write_text(mhd_header())


def mha(folder: Path) -> None:
    (folder / "v.mha").write_bytes(mhd_header(ElementDataFile="LOCAL").encode() + volume_values().tobytes())


def packed_mhd(folder: Path) -> None:
    packed = zlib.compress(volume_values().tobytes())
    (folder / "v.zraw").write_bytes(packed)
    size = str(len(packed))
    header = mhd_header(CompressedData="True", CompressedDataSize=size, ElementDataFile="v.zraw")
    (folder / "v.mhd").write_text(header)


def packed_mha(folder: Path) -> None:
    packed = zlib.compress(volume_values().tobytes())
    header = mhd_header(CompressedData="True", CompressedDataSize=str(len(packed)), ElementDataFile="LOCAL")
    (folder / "v.mha").write_bytes(header.encode() + packed)


def virtual_hdf5(folder: Path) -> None:
    import h5py

    values = volume_values()
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    for part in range(3):
        with h5py.File(folder / f"p{part}.h5", "w") as file:
            file.create_dataset("d", data=values[2 * part : 2 * part + 2], chunks=(1, *values.shape[1:]))
        layout[2 * part : 2 * part + 2] = h5py.VirtualSource(f"p{part}.h5", "d", (2, *values.shape[1:]))
    with h5py.File(folder / "v.h5", "w") as file:
        file.create_virtual_dataset("data", layout, fillvalue=7)


def nifti_header(**changes: tuple[str, int, Any]) -> bytearray:
    """Return 352 bytes of a NIfTI-1 header; a change is a struct format, an offset and a value."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, SHAPE[2], SHAPE[1], SHAPE[0], 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 512, 16)
    struct.pack_into("<8f", header, 76, 1.0, MM, MM, MM, 0, 0, 0, 0)
    struct.pack_into("<fff", header, 108, 352.0, 1.0, 0.0)
    header[123] = 2  # mm
    header[344:348] = b"n+1\0"
    for kind, offset, value in changes.values():
        struct.pack_into(kind, header, offset, value)
    return header


def nifti(folder: Path) -> None:
    (folder / "v.nii").write_bytes(bytes(nifti_header()) + volume_values().tobytes())


def gzip_nifti(folder: Path) -> None:
    (folder / "v.nii.gz").write_bytes(gzip.compress(bytes(nifti_header()) + volume_values().tobytes()))


BASES: tuple[tuple[str, Callable[[Path], None], str, tuple[str, ...]], ...] = (
    ("tiff", plain_tiff, "v.tif", ("v.tif",)),
    ("tiff", imagej_tiff, "v.tif", ("v.tif",)),
    ("tiff", ome_tiff, "v.ome.tif", ("v.ome.tif",)),
    ("tiff", tiled_tiff, "v.tif", ("v.tif",)),
    ("tiff folder", tiff_slices, "v", ("v/s_000.tif", "v/s_002.tif", "v/s_005.tif")),
    ("hdf5", hdf5, "v.h5", ("v.h5",)),
    ("hdf5", chunked_hdf5, "v.h5", ("v.h5",)),
    ("hdf5", virtual_hdf5, "v.h5", ("v.h5", "p1.h5")),
    ("zarr", zarr_array(2), "v.zarr", ("v.zarr/.zarray", "v.zarr/1.1.1")),
    ("zarr", zarr_array(3), "v.zarr", ("v.zarr/zarr.json", "v.zarr/c/1/1/1")),
    ("zarr", ome_zarr, "v.zarr", ("v.zarr/.zattrs", "v.zarr/.zgroup", "v.zarr/0/.zarray", "v.zarr/0/1.0.0")),
    ("nrrd", nrrd, "v.nrrd", ("v.nrrd",)),
    ("nrrd", gzip_nrrd, "v.nrrd", ("v.nrrd",)),
    ("nrrd", detached_nrrd, "v.nhdr", ("v.nhdr", "v.raw")),
    ("mha", mhd, "v.mhd", ("v.mhd", "v.raw")),
    ("mha", mha, "v.mha", ("v.mha",)),
    ("mha", packed_mhd, "v.mhd", ("v.mhd", "v.zraw")),
    ("mha", packed_mha, "v.mha", ("v.mha",)),
    ("nifti", nifti, "v.nii", ("v.nii",)),
    ("nifti", gzip_nifti, "v.nii.gz", ("v.nii.gz",)),
)

NEEDED = (".tif", "1.0.0", ".raw", ".zraw", "p1.h5")
"""Files of which the absence must be an error."""


def damaged(base: Callable[[Path], None], site: str, apply: Callable[[Path, Rng], None]) -> Callable[[Path, Rng], None]:
    def make(folder: Path, rng: Rng) -> None:
        base(folder)
        apply(folder / site, rng)

    return make


def cases() -> Iterator[Case]:
    """Every operator on every file of every format."""
    for kind, base, name, sites in BASES:
        for site in sites:
            for operator, apply, expect in OPERATORS:
                if operator == "missing" and site == name:
                    continue
                if operator == "missing" and site.endswith(NEEDED):
                    expect = "refuse"
                if operator == "missing" and site.endswith(("1.1.1", "1/1/1")):
                    expect = "any"  # a chunk of zeros need not be stored, where others of its slices are
                if operator == "missing" and site.endswith(("s_000.tif", "s_005.tif")):
                    expect = "any"  # nothing shows that there was a slice before the first or after the last one
                if site.endswith((".zattrs", ".zgroup")) and expect == "refuse":
                    expect = "same"
                yield case(
                    kind, f"{base.__name__}, {Path(site).name}: {operator}", name, damaged(base, site, apply), expect
                )


def zlib_bomb(size: int) -> bytes:
    """Return zlib bytes that unpack to `size` zeros: one compressed block of 16 MB, repeated."""
    block, packer = bytes(1 << 24), zlib.compressobj(9)
    first = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + again * (size // (1 << 24) - 2) + packer.compress(block) + packer.flush()


def gzip_bomb(size: int) -> bytes:
    """Return gzip members that unpack to `size` zeros."""
    return gzip.compress(bytes(1 << 26), 9) * (size >> 26)
