"""Hostile headers of NRRD, MHA, MHD and NIfTI."""

import gzip
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from studies.trust.hostile.case import SHAPE, Case, Expectation, Rng, volume_values
from studies.trust.hostile.volumes import (
    MM,
    case,
    gzip_bomb,
    mhd_header,
    nifti_header,
    write_nrrd,
    zlib_bomb,
)


def cases() -> Iterator[Case]:
    """Hostile headers of NRRD, MHA, MHD and NIfTI."""
    data = volume_values().tobytes()
    elsewhere = (
        "../outside/secret.raw",
        "OUTSIDE/secret.raw",
        "/dev/zero",
        "inside/../../outside/secret.raw",
        "gone.raw",
        "fifo",
        ".",
    )

    def prepared(folder: Path) -> None:

        (folder / "v.raw").write_bytes(data)
        (folder / "inside").mkdir()
        os.mkfifo(folder / "fifo")
        (folder / "link.raw").symlink_to("../outside/secret.raw")

    for target in (*elsewhere, "link.raw"):

        def make_nrrd(folder: Path, rng: Rng, target: str = target) -> None:
            prepared(folder)
            write_nrrd(folder / "v.nhdr", data_file=target.replace("OUTSIDE", str(folder.parent / "outside")))

        def make_mhd(folder: Path, rng: Rng, target: str = target) -> None:
            prepared(folder)
            (folder / "v.mhd").write_text(
                mhd_header(ElementDataFile=target.replace("OUTSIDE", str(folder.parent / "outside")))
            )

        is_link = target == "link.raw"
        expect: Expectation = "any" if is_link else "refuse"
        yield replace(case("nrrd", f"data file: {target}", "v.nhdr", make_nrrd, expect), outside=is_link)
        yield replace(case("mha", f"ElementDataFile: {target}", "v.mhd", make_mhd, expect), outside=is_link)
    lists = (
        ("LIST\n../outside/secret.raw", "refuse"),
        ("../outside/s%d.raw 1 6 1", "refuse"),
        ("v%d.raw 1 1000000000 1", "refuse"),
        ("v%n%s.raw 1 6 1", "refuse"),
    )
    for target, expect in lists:

        def make_list(folder: Path, rng: Rng, target: str = target) -> None:
            prepared(folder)
            write_nrrd(folder / "v.nhdr", data_file=target)

        def make_pattern(folder: Path, rng: Rng, target: str = target) -> None:
            prepared(folder)
            (folder / "v.mhd").write_text(mhd_header(ElementDataFile=target))

        yield case("nrrd", f"data file: {target!r}", "v.nhdr", make_list, expect)  # type: ignore[arg-type]
        yield case("mha", f"ElementDataFile: {target!r}", "v.mhd", make_pattern, expect)  # type: ignore[arg-type]
    x, y = SHAPE[2], SHAPE[1]
    fields: tuple[tuple[str, dict[str, Any], Expectation], ...] = (
        ("sizes 10^9", {"sizes": f"{x} {y} 1000000000"}, "refuse"),
        ("sizes 10^6 10^6 10^6", {"sizes": "1000000 1000000 1000000"}, "refuse"),
        ("sizes overflow", {"sizes": f"{1 << 32} {1 << 32} 6"}, "refuse"),
        ("sizes negative", {"sizes": f"{x} {y} -6"}, "refuse"),
        ("sizes 0", {"sizes": f"{x} {y} 0"}, "refuse"),
        ("sizes abc", {"sizes": "a b c"}, "refuse"),
        ("sizes of two", {"sizes": f"{x} {y}"}, "refuse"),
        ("no sizes", {"sizes": None}, "refuse"),
        ("dimension 16", {"dimension": "16"}, "refuse"),
        ("dimension -1", {"dimension": "-1"}, "refuse"),
        ("dimension 10^9", {"dimension": "1000000000"}, "refuse"),
        ("type evil", {"type": "evil"}, "refuse"),
        ("type block", {"type": "block", "block_size": "1000000000"}, "refuse"),
        ("type double", {"type": "double"}, "refuse"),
        ("encoding evil", {"encoding": "evil"}, "refuse"),
        ("encoding ascii", {"encoding": "ascii"}, "refuse"),
        ("encoding gzip of raw bytes", {"encoding": "gzip"}, "refuse"),
        ("encoding bzip2 of raw bytes", {"encoding": "bzip2"}, "refuse"),
        ("endian middle", {"endian": "middle"}, "refuse"),
        ("no endian", {"endian": None}, "same"),
        ("line skip 10^9", {"line_skip": "1000000000"}, "refuse"),
        ("byte skip 10^12", {"byte_skip": "1000000000000"}, "refuse"),
        ("byte skip -5", {"byte_skip": "-5"}, "refuse"),
        ("line skip -1", {"line_skip": "-1"}, "refuse"),
        ("directions nan", {"space_directions": "(nan,0,0) (0,1,0) (0,0,1)"}, "same"),
        ("directions 0", {"space_directions": "(0,0,0) (0,0,0) (0,0,0)"}, "same"),
        ("directions singular", {"space_directions": f"({MM},0,0) ({MM},0,0) (0,0,{MM})"}, "same"),
        ("directions none", {"space_directions": "none none none"}, "same"),
        ("directions of two", {"space_directions": f"({MM},0,0) (0,{MM},0)"}, "same"),
        ("directions abc", {"space_directions": "abc"}, "same"),
        ("origin nan", {"space_origin": "(nan,nan,nan)"}, "same"),
        ("origin inf", {"space_origin": "(inf,0,0)"}, "same"),
        ("units parsec", {"space_units": '"parsec" "mm" "mm"'}, "same"),
        ("units of one", {"space_units": '"mm"'}, "same"),
        ("space dimension 9", {"space_dimension": "9"}, "same"),
    )
    for name, changes, expect in fields:

        def make(folder: Path, rng: Rng, changes: dict[str, Any] = changes) -> None:
            write_nrrd(folder / "v.nrrd", data, **changes)

        yield case("nrrd", name, "v.nrrd", make, expect)

    def bomb_nrrd(folder: Path, rng: Rng) -> None:
        write_nrrd(folder / "v.nrrd", gzip_bomb(3 << 30), encoding="gzip", sizes="32768 32768 2")

    def hidden_bomb_nrrd(folder: Path, rng: Rng) -> None:
        write_nrrd(folder / "v.nrrd", gzip_bomb(3 << 30), encoding="gzip")

    yield case("nrrd", "gzip bomb of 3 GB", "v.nrrd", bomb_nrrd, "refuse")
    yield case("nrrd", "gzip bomb of 3 GB behind a small size", "v.nrrd", hidden_bomb_nrrd, "any")
    meta: tuple[tuple[str, dict[str, Any], Expectation], ...] = (
        ("DimSize 10^9", {"DimSize": f"{x} {y} 1000000000"}, "refuse"),
        ("DimSize overflow", {"DimSize": f"{1 << 32} {1 << 32} 6"}, "refuse"),
        ("DimSize negative", {"DimSize": f"{x} {y} -6"}, "refuse"),
        ("DimSize 0", {"DimSize": f"{x} {y} 0"}, "refuse"),
        ("DimSize abc", {"DimSize": "a b c"}, "refuse"),
        ("DimSize of two", {"DimSize": f"{x} {y}"}, "refuse"),
        ("no DimSize", {"DimSize": None}, "refuse"),
        ("NDims 10", {"NDims": "10"}, "refuse"),
        ("NDims 10^9", {"NDims": "1000000000"}, "refuse"),
        ("NDims -3", {"NDims": "-3"}, "refuse"),
        ("NDims 0", {"NDims": "0"}, "refuse"),
        ("no NDims", {"NDims": None}, "refuse"),
        ("type evil", {"ElementType": "MET_EVIL"}, "refuse"),
        ("type text", {"ElementType": "MET_STRING"}, "refuse"),
        ("type double", {"ElementType": "MET_DOUBLE"}, "refuse"),
        ("compressed", {"CompressedData": "True"}, "refuse"),
        ("compressed, size lies", {"CompressedData": "True", "CompressedDataSize": "100000000000"}, "refuse"),
        ("text", {"BinaryData": "False"}, "refuse"),
        ("header size 10^12", {"HeaderSize": "1000000000000"}, "same"),
        ("header size -1", {"HeaderSize": "-1"}, "same"),
        ("header size -5", {"HeaderSize": "-5"}, "refuse"),
        ("spacing nan", {"ElementSpacing": "nan nan nan"}, "same"),
        ("spacing 0", {"ElementSpacing": "0 0 0"}, "same"),
        ("spacing negative", {"ElementSpacing": f"-{MM} {MM} {MM}"}, "same"),
        ("spacing abc", {"ElementSpacing": "abc"}, "same"),
        ("spacing 1e300", {"ElementSpacing": "1e300 1e300 1e300"}, "same"),
        ("no spacing", {"ElementSpacing": None}, "same"),
        ("10^6 channels", {"ElementNumberOfChannels": "1000000"}, "refuse"),
        ("3 channels", {"ElementNumberOfChannels": "3"}, "refuse"),
        ("-1 channels", {"ElementNumberOfChannels": "-1"}, "refuse"),
        ("directions singular", {"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "same"),
        ("directions nan", {"TransformMatrix": "nan nan nan nan nan nan nan nan nan"}, "same"),
        ("offset nan", {"Offset": "nan nan nan"}, "same"),
        ("object type", {"ObjectType": "Tube"}, "same"),
        ("no data file", {"ElementDataFile": None}, "refuse"),
    )
    for name, changes, expect in meta:

        def make_meta(folder: Path, rng: Rng, changes: dict[str, Any] = changes) -> None:
            (folder / "v.mha").write_bytes(mhd_header(**{"ElementDataFile": "LOCAL"} | changes).encode() + data)

        yield case("mha", name, "v.mha", make_meta, expect)

    def bomb_mha(folder: Path, rng: Rng) -> None:
        packed = zlib_bomb(3 << 30)
        header = mhd_header(
            ElementDataFile=None, CompressedData="True", CompressedDataSize=str(len(packed)), DimSize="32768 32768 2"
        )
        (folder / "v.mha").write_bytes(header.encode() + b"ElementDataFile = LOCAL\n" + packed)

    yield case("mha", "deflate bomb of 4 GB", "v.mha", bomb_mha, "refuse")
    inf, nan = float("inf"), float("nan")
    bytes_: tuple[tuple[str, tuple[tuple[str, int, Any], ...], Expectation], ...] = (
        ("header size 0", (("<i", 0, 0),), "refuse"),
        ("dim 0", (("<h", 40, 0),), "refuse"),
        ("dim -1", (("<h", 40, -1),), "refuse"),
        ("dim 8", (("<h", 40, 8),), "refuse"),
        ("dim 7", (("<h", 40, 7),), "same"),
        ("x -48", (("<h", 42, -48),), "refuse"),
        ("x 0", (("<h", 42, 0),), "refuse"),
        ("sizes 32767", (("<h", 42, 32767), ("<h", 44, 32767), ("<h", 46, 32767)), "refuse"),
        ("time 100", (("<h", 40, 4), ("<h", 48, 100)), "refuse"),
        ("datatype 0", (("<h", 70, 0),), "refuse"),
        ("datatype RGB", (("<h", 70, 128), ("<h", 72, 24)), "refuse"),
        ("datatype float128", (("<h", 70, 1536), ("<h", 72, 128)), "refuse"),
        ("datatype complex", (("<h", 70, 32), ("<h", 72, 64)), "refuse"),
        ("datatype 9999", (("<h", 70, 9999),), "refuse"),
        ("bits of another type", (("<h", 72, 64),), "same"),
        ("pixdim nan", (("<f", 80, nan),), "same"),
        ("pixdim inf", (("<f", 84, inf),), "same"),
        ("pixdim 0", (("<f", 88, 0.0),), "same"),
        ("pixdim negative", (("<f", 80, -MM),), "same"),
        ("pixdim 1e38", (("<f", 80, 1e38),), "same"),
        ("offset nan", (("<f", 108, nan),), "refuse"),
        ("offset inf", (("<f", 108, inf),), "refuse"),
        ("offset -1e30", (("<f", 108, -1e30),), "refuse"),
        ("offset 1e30", (("<f", 108, 1e30),), "refuse"),
        ("offset 0", (("<f", 108, 0.0),), "same"),
        ("offset 353.5", (("<f", 108, 353.5),), "refuse"),
        ("slope nan", (("<f", 112, nan),), "same"),
        ("slope inf", (("<f", 112, inf),), "same"),
        ("slope 0", (("<f", 112, 0.0),), "same"),
        ("slope 1e38", (("<f", 112, 1e38),), "refuse"),
        ("intercept nan", (("<f", 116, nan),), "same"),
        ("units 255", (("<B", 123, 255),), "same"),
        ("magic", (("<4s", 344, b"abcd"),), "same"),
        ("magic of a pair", (("<4s", 344, b"ni1\0"),), "refuse"),
        ("extension of 2 GB", (("<4s", 348, b"\1\0\0\0"),), "same"),
        ("qform nan", (("<h", 252, 1), ("<f", 256, nan)), "same"),
        ("sform nan", (("<h", 254, 1), ("<f", 280, nan)), "same"),
        ("sform 0", (("<h", 254, 1),), "same"),
    )
    for name, edits, expect in bytes_:

        def make_nifti(folder: Path, rng: Rng, edits: tuple[tuple[str, int, Any], ...] = edits) -> None:
            changes = {str(index): edit for index, edit in enumerate(edits)}
            (folder / "v.nii").write_bytes(bytes(nifti_header(**changes)) + data)

        yield case("nifti", name, "v.nii", make_nifti, expect)

    def bomb_nifti(folder: Path, rng: Rng) -> None:
        header = nifti_header(x=("<h", 42, 32000), y=("<h", 44, 32000), z=("<h", 46, 2))
        (folder / "v.nii.gz").write_bytes(gzip.compress(bytes(header)) + gzip_bomb(3 << 30))

    yield case("nifti", "gzip bomb of 3 GB", "v.nii.gz", bomb_nifti, "refuse")
