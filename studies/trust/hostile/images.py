"""Hostile slides, and aligned pictures of µCT and histology."""

import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from studies.trust.hostile.case import Case, Command, Expectation, Rng, slide_values
from studies.trust.hostile.operators import OPERATORS
from studies.trust.hostile.tiff_files import set_tag
from studies.trust.hostile.volumes import Counter, damaged

COUNT = Counter()


def slide_commands(name: str) -> tuple[Command, ...]:
    """Return the commands that read a slide."""
    others: tuple[Command, ...] = (
        (
            "register",
            "WORLD/specimen/volume",
            name,
            "out-pair",
            "--init",
            "WORLD/specimen/truth/section.yaml",
            "--pixel-um",
            "30",
            "--dry-run",
        ),
        ("prepare", "specimens.csv", "out-dataset"),
    )
    return (("check", name, "--voxel-um", "30"), others[COUNT() % 2])


def slide_case(operator: str, name: str, make: Callable[[Path, Rng], Any], expect: Expectation = "same") -> Case:
    """Return a case of a slide."""

    def with_table(folder: Path, rng: Rng) -> None:
        make(folder, rng)
        world = folder.parents[1] / "world/specimen"
        (folder / "specimens.csv").write_text(
            f"specimen,volume,slide,section,pixel_um\na,{world}/volume,{name},{world}/truth/section.yaml,30\n"
        )

    return Case("slide", operator, with_table, slide_commands(name), expect)


def plain_slide(folder: Path) -> None:
    import tifffile

    tifffile.imwrite(folder / "s.tif", slide_values(), photometric="rgb", metadata=None)


def pyramid(folder: Path) -> None:
    import tifffile

    with tifffile.TiffWriter(folder / "s.svs") as tif:
        text = "Aperio Image Library v11.2.1\r\n128x96 (16x16) |AppMag = 20|MPP = 30.0"
        for step in (1, 2):
            tif.write(
                slide_values()[::step, ::step],
                tile=(16, 16),
                photometric="rgb",
                description=text,
                metadata=None,
                compression="jpeg",
            )


def ome_slide(folder: Path) -> None:
    import tifffile

    tifffile.imwrite(
        folder / "s.ome.tif",
        slide_values(),
        photometric="rgb",
        metadata={"axes": "YXS", "PhysicalSizeX": 30.0, "PhysicalSizeY": 30.0},
        compression="zlib",
    )


def picture(suffix: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        from PIL import Image

        Image.fromarray(slide_values()).save(folder / f"s{suffix}")

    return write


SLIDES: tuple[tuple[Callable[[Path], None], str], ...] = (
    (plain_slide, "s.tif"),
    (pyramid, "s.svs"),
    (ome_slide, "s.ome.tif"),
    (picture(".png"), "s.png"),
    (picture(".jpg"), "s.jpg"),
)


def png(width: int, height: int, *, colour: int = 2, bits: int = 8, data: bytes = b"", extra: bytes = b"") -> bytes:
    """Return a PNG whose header may lie."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_bomb(side: int) -> bytes:
    """Return a valid PNG of side² black pixels."""
    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * side)
    return png(side, side, data=b"".join(packer.compress(row) for _ in range(side)) + packer.flush())


def bytes_file(name: str, content: bytes) -> Callable[[Path, Rng], None]:
    def make(folder: Path, rng: Rng) -> None:
        (folder / name).write_bytes(content)

    return make


def pngs() -> Iterator[tuple[str, Callable[[Path, Rng], None], Expectation]]:
    """Return hostile PNGs for slides and aligned pictures; each writes s.png."""

    def bomb(side: int) -> Callable[[Path, Rng], None]:
        def make(folder: Path, rng: Rng) -> None:
            (folder / "s.png").write_bytes(png_bomb(side))

        return make

    good = zlib.compress(b"".join(b"\0" + row.tobytes() for row in slide_values()))
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 27)))
    yield "PNG bomb of 12,000²", bomb(12000), "any"
    yield "PNG of 32,000², no data", bytes_file("s.png", png(32000, 32000, data=zlib.compress(bytes(1000)))), "refuse"
    yield "PNG of 2^31-1 squared", bytes_file("s.png", png((1 << 31) - 1, (1 << 31) - 1, data=good)), "refuse"
    yield "PNG of 0 x 0", bytes_file("s.png", png(0, 0, data=good)), "refuse"
    yield "PNG that is taller than its data", bytes_file("s.png", png(128, 9600, data=good)), "refuse"
    yield "PNG of 3 bits", bytes_file("s.png", png(128, 96, bits=3, data=good)), "refuse"
    yield "PNG of colour type 9", bytes_file("s.png", png(128, 96, colour=9, data=good)), "refuse"
    yield "PNG with a text of 128 MB", bytes_file("s.png", png(128, 96, data=good, extra=text)), "any"
    yield "PNG with 10^5 chunks", bytes_file("s.png", png(128, 96, data=good, extra=chunk(b"teSt", b"") * 10**5)), "any"
    yield "PNG palette without a palette", bytes_file("s.png", png(128, 96, colour=3, data=good)), "refuse"
    yield (
        "PNG with a wrong checksum",
        bytes_file("s.png", png(128, 96, data=good).replace(b"IDAT", b"IDAU", 1)),
        "refuse",
    )


def jpeg_of(side: int) -> Callable[[Path, Rng], None]:
    """Write a JPEG whose header states another size."""

    def make(folder: Path, rng: Rng) -> None:
        picture(".jpg")(folder)
        content = bytearray((folder / "s.jpg").read_bytes())
        place = content.index(b"\xff\xc0")
        struct.pack_into(">HH", content, place + 5, side, side)
        (folder / "s.jpg").write_bytes(content)

    return make


def slides() -> Iterator[Case]:
    """Hostile slides."""
    for base, name in SLIDES:
        for operator, apply, expect in OPERATORS:
            if operator != "missing":
                yield slide_case(
                    f"{name}: {operator}", name, damaged(base, name, apply), "any" if expect == "same" else expect
                )
    for operator, make, expect in pngs():
        yield slide_case(operator, "s.png", make, expect)
    for side in (65500, 30000, 1, 0):
        yield slide_case(f"JPEG that says {side}²", "s.jpg", jpeg_of(side), "any" if side == 1 else "refuse")
    tags: tuple[tuple[str, int, int, Expectation], ...] = (
        ("width 2^31", 256, 1 << 31, "refuse"),
        ("length 2^30", 257, 1 << 30, "refuse"),
        ("photometric 5", 262, 5, "refuse"),
        ("photometric 9999", 262, 9999, "refuse"),
        ("samples 65535", 277, 65535, "refuse"),
        ("samples 1", 277, 1, "any"),
        ("samples 2", 277, 2, "any"),
        ("planar 2", 284, 2, "refuse"),
        ("orientation 99", 274, 99, "any"),
        ("strip offset 2^30", 273, 1 << 30, "refuse"),
        ("strip bytes 1", 279, 1, "any"),
        ("compression 7", 259, 7, "refuse"),
    )
    for operator, code, value, expect in tags:
        yield slide_case(f"tag {operator}", "s.tif", damaged(plain_slide, "s.tif", set_tag(code, value)), expect)

    def resolution(value: tuple[int, int]) -> Callable[[Path, Rng], None]:
        def make(folder: Path, rng: Rng) -> None:
            import tifffile

            tifffile.imwrite(
                folder / "s.tif",
                slide_values(),
                photometric="rgb",
                metadata=None,
                resolution=(value, value),
                resolutionunit="CENTIMETER",
            )

        return make

    for pair in ((0, 1), (1, 4294967295), (4294967295, 1)):
        yield slide_case(f"resolution {pair[0]}/{pair[1]}", "s.tif", resolution(pair), "any")
    for value in ("nan", "-1", "0", "inf", "1e300", "abc"):

        def mpp(folder: Path, rng: Rng, value: str = value) -> None:
            import tifffile

            text = f"Aperio Image Library v11.2.1\r\n128x96 (16x16) |AppMag = 20|MPP = {value}"
            tifffile.imwrite(
                folder / "s.svs", slide_values(), tile=(16, 16), photometric="rgb", description=text, metadata=None
            )

        yield slide_case(f"MPP = {value}", "s.svs", mpp, "any")

    def not_rgb(kind: str, shape: tuple[int, ...]) -> Callable[[Path, Rng], None]:
        def make(folder: Path, rng: Rng) -> None:
            import tifffile

            tifffile.imwrite(folder / "s.tif", np.full(shape, np.nan if kind == "f4" else 7, kind), metadata=None)

        return make

    for kind, shape in (
        ("f4", (96, 128, 3)),
        ("u1", (96, 128)),
        ("u1", (96, 128, 7)),
        ("u1", (5, 96, 128, 3)),
        ("c8", (96, 128)),
        ("i4", (96, 128, 3)),
    ):
        yield slide_case(f"values {kind} of shape {shape}", "s.tif", not_rgb(kind, shape), "any")


# --- aligned pictures
PREPARE: tuple[Command, ...] = (
    ("prepare", "--aligned", "ct", "he", "out-dataset", "--voxel-um", "20", "--normalise", "range", "--mask", "none"),
)


def aligned_base(folder: Path) -> None:
    """Write three aligned pairs of PNGs."""
    from PIL import Image

    for index in range(3):
        for name, values in (("ct", np.ascontiguousarray(slide_values()[..., 0])), ("he", slide_values())):
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(values).save(folder / name / f"p{index}.png")


def aligned() -> Iterator[Case]:
    """Hostile folders of aligned pictures."""
    for site in ("ct/p1.png", "he/p1.png"):
        for operator, apply, expect in OPERATORS:
            yield Case("aligned", f"{site}: {operator}", damaged(aligned_base, site, apply), PREPARE, expect)

    def replaced(make: Callable[[Path, Rng], None], site: str) -> Callable[[Path, Rng], None]:
        def apply(folder: Path, rng: Rng) -> None:
            aligned_base(folder)
            make(folder, rng)
            shutil.move(folder / "s.png", folder / site)

        return apply

    for operator, make, expect in pngs():
        yield Case("aligned", operator, replaced(make, "he/p1.png"), PREPARE, expect)

    def values(site: str, array: Any, name: str = "") -> Callable[[Path, Rng], None]:
        def make(folder: Path, rng: Rng) -> None:
            import tifffile

            aligned_base(folder)
            (folder / site).unlink()
            tifffile.imwrite((folder / site).with_suffix(".tif"), array, metadata=None)

        return make

    small = slide_values()[:90]
    arrays: tuple[tuple[str, str, Any, Expectation], ...] = (
        ("another shape", "ct/p1.png", small[..., 0], "refuse"),
        ("another shape of the histology", "he/p1.png", small, "refuse"),
        ("NaN", "ct/p1.png", np.full((96, 128), np.nan, np.float32), "refuse"),
        ("infinity", "ct/p1.png", np.full((96, 128), np.inf, np.float32), "refuse"),
        ("complex", "ct/p1.png", np.zeros((96, 128), np.complex64), "refuse"),
        ("colours as µCT", "ct/p1.png", slide_values(), "any"),
        ("grey as histology", "he/p1.png", slide_values()[..., 0], "any"),
        ("float histology", "he/p1.png", slide_values() / np.float32(255), "refuse"),
        ("NaN histology", "he/p1.png", np.full((96, 128, 3), np.nan, np.float32), "refuse"),
        ("five channels", "he/p1.png", np.zeros((96, 128, 5), np.uint8), "refuse"),
        ("negative µCT", "ct/p1.png", np.full((96, 128), -5, np.int16), "any"),
    )
    for operator, site, array, expect in arrays:
        yield Case("aligned", operator, values(site, array), PREPARE, expect)

    def name_trick(name: str) -> Callable[[Path, Rng], None]:
        def make(folder: Path, rng: Rng) -> None:
            aligned_base(folder)
            for part in ("ct", "he"):
                (folder / part / "p1.png").rename(folder / part / name)

        return make

    for name in (
        "$(touch executed).png",
        "a;touch executed;.png",
        "-rf.png",
        "новый µ.png",
        "a\nb.png",
        "..png",
        "con.png",
        "x" * 240 + ".png",
        ".hidden.png",
        "=1+1.png",
    ):
        yield Case("aligned", f"named {name[:30]!r}", name_trick(name), PREPARE, "any")
    patterns = ("(", "(.*)*(.*)*(.*)*(.*)*z", "(a+)+$", "", "nothing", "(?P<x>.)")
    for pattern in patterns:

        def long_names(folder: Path, rng: Rng) -> None:
            aligned_base(folder)
            for part in ("ct", "he"):
                (folder / part / "p1.png").rename(folder / part / ("a" * 40 + "!.png"))

        command = (
            "prepare",
            "--aligned",
            "ct",
            "he",
            "out-dataset",
            "--voxel-um",
            "20",
            "--normalise",
            "range",
            "--mask",
            "none",
            "--subject-regex",
            pattern,
        )
        yield Case("aligned", f"subject pattern {pattern!r}", long_names, (command,), "any")


def cases() -> Iterator[Case]:
    """All hostile pictures."""
    yield from slides()
    yield from aligned()
