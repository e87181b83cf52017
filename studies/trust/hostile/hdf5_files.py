"""Hostile HDF5 files."""

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from studies.trust.hostile.case import SHAPE, Case, Expectation, Rng, volume_values
from studies.trust.hostile.volumes import (
    case,
)


def cases() -> Iterator[Case]:
    """Hostile HDF5 files."""

    def written(function: Callable[[Any, Path], object]) -> Callable[[Path, Rng], None]:
        def make(folder: Path, rng: Rng) -> None:
            import h5py

            with h5py.File(folder / "v.h5", "w") as file:
                function(file, folder)

        return make

    def nested(depth: int) -> Callable[[Any, Path], object]:
        def build(file: Any, folder: Path) -> None:
            group = file
            for _ in range(depth):
                group = group.create_group("g")
            group["data"] = volume_values()

        return build

    def virtual(name: str) -> Callable[[Any, Path], object]:
        def build(file: Any, folder: Path) -> None:
            import h5py

            layout = h5py.VirtualLayout(SHAPE, "u2")
            layout[:] = h5py.VirtualSource(name.replace("OUTSIDE", str(folder.parent / "outside")), "data", SHAPE)
            file.create_virtual_dataset("data", layout)

        return build

    def direct(shape: tuple[int, ...], chunk: tuple[int, ...], every: bool = True) -> Callable[[Any, Path], object]:
        """Write the same compressed chunk of zeros everywhere."""

        def build(file: Any, folder: Path) -> None:
            data = file.create_dataset("data", shape, "u2", chunks=chunk, compression="gzip")
            packed = zlib.compress(bytes(2 * int(np.prod(chunk))), 6)
            for z in range(0, shape[0] if every else 1, chunk[0]):
                data.id.write_direct_chunk((z, 0, 0), packed)

        return build

    def loops(file: Any, folder: Path) -> None:
        import h5py

        file["a"], file["b"], file["self"] = h5py.SoftLink("/b"), h5py.SoftLink("/a"), h5py.SoftLink("/self")
        file["data"] = volume_values()

    def only_loops(file: Any, folder: Path) -> None:
        import h5py

        file["data"] = h5py.SoftLink("/data")

    def group_loop(file: Any, folder: Path) -> None:
        group = file.create_group("a")
        group["b"] = file["/"]
        file["data"] = volume_values()

    def external_link(name: str) -> Callable[[Any, Path], object]:
        def build(file: Any, folder: Path) -> None:
            import h5py

            file["data"] = h5py.ExternalLink(name.replace("OUTSIDE", str(folder.parent / "outside")), "data")

        return build

    def external_storage(name: str) -> Callable[[Any, Path], object]:
        def build(file: Any, folder: Path) -> None:
            target = name.replace("OUTSIDE", str(folder.parent / "outside"))
            file.create_dataset("data", SHAPE, "u2", external=[(target, 0, 2 * int(np.prod(SHAPE)))])

        return build

    def attribute(value: Any) -> Callable[[Any, Path], object]:
        def build(file: Any, folder: Path) -> None:
            data = file.create_dataset("data", data=volume_values())
            data.attrs["element_size_um"] = value

        return build

    def unknown_filter(file: Any, folder: Path) -> None:
        import h5py

        space = h5py.h5s.create_simple(SHAPE)
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(SHAPE)
        plist.set_filter(32767, h5py.h5z.FLAG_OPTIONAL, (1,))
        data = h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_UINT16, space, plist)
        data.write_direct_chunk((0, 0, 0), b"garbage")

    def references(file: Any, folder: Path) -> None:
        import h5py

        file["x"] = 1
        file.create_dataset("data", SHAPE, dtype=h5py.ref_dtype)

    def texts(file: Any, folder: Path) -> None:
        import h5py

        file.create_dataset("data", SHAPE, dtype=h5py.string_dtype())

    def many(count: int) -> Callable[[Any, Path], object]:
        def build(file: Any, folder: Path) -> None:
            for index in range(count):
                file.create_group(f"g{index:05d}")
            file["data"] = volume_values()

        return build

    def partly(file: Any, folder: Path) -> None:
        file.create_dataset("data", SHAPE, "u2", chunks=(1, 40, 48))[:4] = volume_values()[:4]

    cases: tuple[tuple[str, Callable[[Any, Path], object], Expectation], ...] = (
        ("soft links in a circle, next to the volume", loops, "same"),
        ("only a link to itself", only_loops, "refuse"),
        ("groups in a circle", group_loop, "same"),
        ("external link, relative", external_link("../outside/secret.h5"), "refuse"),
        ("external link, absolute", external_link("OUTSIDE/secret.h5"), "refuse"),
        ("external link, missing", external_link("gone.h5"), "refuse"),
        ("external storage, relative", external_storage("../outside/secret.raw"), "refuse"),
        ("external storage, absolute", external_storage("OUTSIDE/secret.raw"), "refuse"),
        ("external storage, /dev/zero", external_storage("/dev/zero"), "refuse"),
        ("virtual dataset, outside", virtual("../outside/secret.h5"), "refuse"),
        ("virtual dataset, absolute", virtual("OUTSIDE/secret.h5"), "refuse"),
        ("virtual dataset, missing", virtual("gone.h5"), "refuse"),
        (
            "10^9 slices, unwritten",
            lambda f, d: f.create_dataset("data", (10**9, 40, 48), "u2", chunks=(1, 40, 48)),
            "refuse",
        ),
        (
            "10^12 voxels in a slice",
            lambda f, d: f.create_dataset("data", (6, 10**6, 10**6), "u2", chunks=(1, 1000, 1000)),
            "refuse",
        ),
        ("a chunk of 4 GB", direct((1, 46000, 46000), (1, 46000, 46000), every=False), "refuse"),
        ("a chunk of 1 GB, small crop", direct((512, 1024, 1024), (512, 1024, 1024)), "any"),
        ("deflate bomb, 20000² px", direct((2, 20000, 20000), (1, 20000, 20000)), "refuse"),
        ("3,000 nested groups", nested(3000), "same"),
        ("200 nested groups", nested(200), "same"),
        ("10,000 groups", many(10000), "same"),
        ("unknown filter", unknown_filter, "refuse"),
        ("references", references, "refuse"),
        ("texts", texts, "refuse"),
        ("shape (0, 40, 48)", lambda f, d: f.create_dataset("data", (0, 40, 48), "u2"), "refuse"),
        ("one dimension", lambda f, d: f.create_dataset("data", data=np.arange(100)), "refuse"),
        ("five dimensions", lambda f, d: f.create_dataset("data", data=volume_values()[None, None]), "same"),
        ("30 dimensions", lambda f, d: f.create_dataset("data", data=np.zeros((1,) * 30)), "refuse"),
        ("complex", lambda f, d: f.create_dataset("data", data=volume_values().astype("c8")), "refuse"),
        ("compound", lambda f, d: f.create_dataset("data", SHAPE, dtype=[("a", "u2"), ("b", "f4")]), "refuse"),
        (
            "float with NaN",
            lambda f, d: f.create_dataset("data", data=np.where(volume_values() > 30500, np.nan, volume_values())),
            "refuse",
        ),
        ("only 4 of 6 slices written", partly, "refuse"),
        ("nothing in it", lambda f, d: None, "refuse"),
        ("a scalar", lambda f, d: f.create_dataset("data", data=3), "refuse"),
        ("two volumes", lambda f, d: [f.create_dataset(n, data=volume_values()) for n in "ab"], "refuse"),
        ("size nan", attribute([np.nan] * 3), "same"),
        ("size -1", attribute([-1.0] * 3), "same"),
        ("size 'abc'", attribute("abc"), "same"),
        ("size of 100 numbers", attribute(np.ones(100)), "same"),
        ("size of 0 numbers", attribute(np.zeros(0)), "same"),
        ("size 1e300", attribute([1e300] * 3), "same"),
    )
    for name, function, expect in cases:
        yield case("hdf5", name, "v.h5", written(function), expect)
