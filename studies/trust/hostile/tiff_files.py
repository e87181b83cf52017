"""Hostile TIFF files."""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from studies.trust.hostile.case import Case, Expectation, Rng, volume_values
from studies.trust.hostile.volumes import (
    case,
    damaged,
    plain_tiff,
    tiff_slices,
)


def _tags(path: Path) -> dict[int, list[tuple[int, int, int]]]:
    """Return (page, offset of the entry, type) of each tag of a little-endian classic TIFF."""
    import tifffile

    entries: dict[int, list[tuple[int, int, int]]] = {}
    with tifffile.TiffFile(path) as tif:
        for index, page in enumerate(tif.pages):
            for tag in page.tags:  # type: ignore[union-attr]
                entries.setdefault(tag.code, []).append((index, tag.offset, int(tag.dtype)))
    return entries


def set_tag(
    code: int, value: int, kind: int = 4, count: int = 1, page: int | None = None
) -> Callable[[Path, Rng], None]:
    """Set the entry of a tag, in one page or in all."""

    def apply(path: Path, rng: Rng) -> None:
        entries = _tags(path).get(code, [])
        content = bytearray(path.read_bytes())
        for index, offset, _ in entries:
            if page is None or page == index:
                struct.pack_into("<HHII", content, offset, code, kind, count, value)
        path.write_bytes(content)

    return apply


def link_pages(target: Callable[[list[int], int], int], page: int = -1) -> Callable[[Path, Rng], None]:
    """Set the offset of the next IFD of one page."""

    def apply(path: Path, rng: Rng) -> None:
        import tifffile

        with tifffile.TiffFile(path) as tif:
            offsets = [each.offset for each in tif.pages]
        content = bytearray(path.read_bytes())
        start = offsets[page]
        (count,) = struct.unpack_from("<H", content, start)
        struct.pack_into("<I", content, start + 2 + 12 * count, target(offsets, len(content)))
        path.write_bytes(content)

    return apply


def zip_bomb_tiff(side: int, rows: int = 1) -> Callable[[Path, Rng], None]:
    """Write a deflated TIFF of side², whose strips all point to the same compressed bytes."""

    def make(folder: Path, rng: Rng) -> None:
        strip = zlib.compress(bytes(side * rows), 9)
        count = -(-side // rows)
        data = 8
        arrays = data + len(strip) + (len(strip) & 1)
        tags = [
            (256, 4, 1, side),
            (257, 4, 1, side),
            (258, 3, 1, 8),
            (259, 3, 1, 8),
            (262, 3, 1, 1),
            (273, 4, count, arrays),
            (277, 3, 1, 1),
            (278, 4, 1, rows),
            (279, 4, count, arrays + 4 * count),
        ]
        ifd = arrays + 8 * count
        body = struct.pack("<HHI", 0x4949, 42, ifd) + strip + b"\0" * (len(strip) & 1)
        body += struct.pack("<I", data) * count + struct.pack("<I", len(strip)) * count
        body += (
            struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + struct.pack("<I", 0)
        )
        (folder / "v.tif").write_bytes(body)

    return make


def description(text: str) -> Callable[[Path, Rng], None]:
    def make(folder: Path, rng: Rng) -> None:
        import tifffile

        tifffile.imwrite(folder / "v.tif", volume_values(), photometric="minisblack", metadata=None, description=text)

    return make


def tiffs() -> Iterator[Case]:
    """Hostile TIFF files."""
    settings: tuple[tuple[str, int, int, int, Expectation], ...] = (
        ("width 0", 256, 0, 1, "refuse"),
        ("width 2^31", 256, 1 << 31, 1, "refuse"),
        ("width 2^32-1", 256, (1 << 32) - 1, 1, "refuse"),
        ("length 0", 257, 0, 1, "refuse"),
        ("length 2^30", 257, 1 << 30, 1, "refuse"),
        ("bits 0", 258, 0, 1, "refuse"),
        ("bits 64", 258, 64, 1, "refuse"),
        ("bits 4097", 258, 4097, 1, "refuse"),
        ("compression 0", 259, 0, 1, "refuse"),
        ("compression 50002", 259, 50002, 1, "refuse"),
        ("compression 33003", 259, 33003, 1, "refuse"),
        ("photometric 9999", 262, 9999, 1, "same"),
        ("strip offset beyond the end", 273, 1 << 30, 1, "refuse"),
        ("strip offset 0", 273, 0, 1, "any"),
        ("samples 65535", 277, 65535, 1, "refuse"),
        ("samples 0", 277, 0, 1, "same"),
        ("rows per strip 0", 278, 0, 1, "same"),
        ("strip bytes 2^32-1", 279, (1 << 32) - 1, 1, "same"),
        ("strip bytes 1", 279, 1, 1, "same"),
        ("strip bytes 0", 279, 0, 1, "same"),
        ("planar 7", 284, 7, 1, "same"),
        ("a tag with 2^31 values", 273, 8, 1 << 31, "refuse"),
        ("strip offsets of 10^8 values", 273, 8, 10**8, "refuse"),
        ("sample format 6", 339, 6, 1, "same"),
        ("sample format 77", 339, 77, 1, "same"),
    )
    for name, code, value, count, expect in settings:
        yield case("tiff", name, "v.tif", damaged(plain_tiff, "v.tif", set_tag(code, value, count=count)), expect)
        if code in (256, 258, 273, 279):
            yield case(
                "tiff",
                f"{name} in slice 3",
                "v.tif",
                damaged(plain_tiff, "v.tif", set_tag(code, value, count=count, page=3)),
                expect,
            )
            yield case(
                "tiff folder",
                f"{name} in one file",
                "v",
                damaged(tiff_slices, "v/s_004.tif", set_tag(code, value, count=count)),
                expect,
            )
    links: tuple[tuple[str, Callable[[list[int], int], int], int, Expectation], ...] = (
        ("cyclic IFDs", lambda offsets, size: offsets[0], -1, "refuse"),
        ("an IFD that follows itself", lambda offsets, size: offsets[2], 2, "refuse"),
        ("cycle of two IFDs", lambda offsets, size: offsets[1], 2, "refuse"),
        ("next IFD beyond the end", lambda offsets, size: size + 99, 2, "refuse"),
        ("next IFD in the pixels", lambda offsets, size: 16, 2, "refuse"),
        ("the last IFDs cut off", lambda offsets, size: 0, 2, "any"),
        ("next IFD at the last byte", lambda offsets, size: size - 1, -1, "same"),
    )
    for name, target, page, expect in links:
        yield case("tiff", name, "v.tif", damaged(plain_tiff, "v.tif", link_pages(target, page)), expect)
    for side in (30000, 60000, 12000):
        answer: Expectation = "refuse" if side > 20000 else "any"
        made = case("tiff", f"deflate bomb of {side} px", "v.tif", zip_bomb_tiff(side), answer)
        # The smallest is a possible image; to stain it takes its time.
        yield made if answer == "refuse" else replace(made, commands=made.commands[:1])
    texts: tuple[tuple[str, str, Expectation], ...] = (
        ("ImageJ, 10^8 images", "ImageJ=1.54f\nimages=100000000\nslices=100000000\n", "refuse"),
        ("ImageJ, -1 images", "ImageJ=1.54f\nimages=-1\nslices=-1\n", "same"),
        ("ImageJ, images=abc", "ImageJ=1.54f\nimages=abc\nslices=6\n", "same"),
        ("ImageJ, spacing nan", "ImageJ=1.54f\nimages=6\nslices=6\nunit=um\nspacing=nan\n", "same"),
        ("ImageJ, 7 images announced", "ImageJ=1.54f\nimages=7\nslices=7\n", "refuse"),
        ("ImageJ, 3 channels", "ImageJ=1.54f\nimages=6\nchannels=3\nslices=2\nhyperstack=true\n", "refuse"),
        ("ImageJ, 10^6 lines", "ImageJ=1.54f\n" + "a=1\n" * 10**6, "same"),
        ("shaped, wrong", '{"shape": [6, 40, 49]}', "same"),
        ("shaped, huge", '{"shape": [1000000000, 40, 48]}', "same"),
        ("shaped, deeply nested", '{"shape": ' + "[" * 20000 + "]" * 20000 + "}", "same"),
        ("shaped, strings", '{"shape": ["a", null, {}]}', "same"),
        ("a text of 1 MB", "x" * 10**6, "same"),
    )
    for name, text, expect in texts:
        yield case("tiff", name, "v.tif", description(text), expect)
    start = '<?xml version="1.0"?>'
    ome = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint16" SizeX="48" SizeY="40" SizeZ="{z}" SizeC="{c}" SizeT="{t}" {more}>{inside}'
        "</Pixels></Image></OME>"
    )

    def parts(name: str) -> str:
        """Return the XML that says that each slice is in another file."""
        unit = '<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        return "".join(unit.format(z=z, name=name.format(z=z)) for z in range(6))

    plain = {"z": 6, "c": 1, "t": 1, "more": "", "inside": '<TiffData IFD="0" PlaneCount="6"/>'}
    laughs = (
        "<!DOCTYPE lolz [<!ENTITY a0 'lol'>"
        + "".join(f"<!ENTITY a{i} '{f'&a{i - 1};' * 10}'>" for i in range(1, 11))
        + "]>"
    )
    variants: tuple[tuple[str, str, Expectation], ...] = (
        ("10^9 slices", start + ome.format(**plain | {"z": 10**9}), "refuse"),
        ("-6 slices", start + ome.format(**plain | {"z": -6}), "same"),
        ("z is abc", start + ome.format(**plain | {"z": "abc"}), "same"),
        ("0 channels", start + ome.format(**plain | {"c": 0}), "same"),
        (
            "size nan",
            start + ome.format(**plain | {"more": 'PhysicalSizeX="nan" PhysicalSizeY="inf" PhysicalSizeZ="-1"'}),
            "same",
        ),
        (
            "a file outside",
            start + ome.format(**plain | {"inside": parts("../outside/secret.tif")}),
            "refuse",
        ),
        (
            "an absolute file",
            start + ome.format(**plain | {"inside": parts("OUTSIDE/secret.tif")}),
            "refuse",
        ),
        (
            "a file that is not there",
            start + ome.format(**plain | {"inside": parts("gone_{z}.tif")}),
            "refuse",
        ),
        ("IFD 10^9", start + ome.format(**plain | {"inside": '<TiffData IFD="1000000000" PlaneCount="6"/>'}), "same"),
        (
            "10^9 planes",
            start + ome.format(**plain | {"inside": '<TiffData IFD="0" PlaneCount="1000000000"/>'}),
            "same",
        ),
        ("XML cut off", (start + ome.format(**plain))[:200], "same"),
        ("entities (billion laughs)", start + laughs + ome.format(**plain | {"inside": "&a10;"}), "same"),
        (
            "an external entity",
            start
            + "<!DOCTYPE x [<!ENTITY e SYSTEM 'file://OUTSIDE/secret.txt'>]>"
            + ome.format(**plain | {"inside": "&e;"}),
            "same",
        ),
        ("XML nested 10,000 deep", start + "<OME>" + "<a>" * 10**4 + "</a>" * 10**4 + "</OME>", "same"),
        ("10,000 images", start + "<OME>" + '<Image ID="i"></Image>' * 10**4 + "</OME>", "same"),
    )
    for name, text, expect in variants:

        def make(folder: Path, rng: Rng, text: str = text) -> None:
            import tifffile

            xml = text.replace("OUTSIDE", str(folder.parent / "outside")).encode()
            tifffile.imwrite(
                folder / "v.ome.tif", volume_values(), photometric="minisblack", metadata=None, description=xml
            )

        yield case("tiff", f"OME: {name}", "v.ome.tif", make, expect)


def float_volumes() -> Iterator[Case]:
    """Volumes with values that are not finite, or of other number types."""
    for bad in (np.nan, np.inf, -np.inf, 3e38):

        def make(folder: Path, rng: Rng, bad: float = bad) -> None:
            import tifffile

            values = volume_values().astype(np.float32)
            values[3, 5, 7] = bad
            tifffile.imwrite(folder / "v.tif", values, photometric="minisblack")

        yield case("tiff", f"float32 with one {bad}", "v.tif", make, "any" if np.isfinite(bad) else "refuse")
    for kind in ("c8", "f8", "i1", "u8", "i8", "f2"):

        def make_kind(folder: Path, rng: Rng, kind: str = kind) -> None:
            import tifffile

            tifffile.imwrite(folder / "v.tif", (volume_values() // 512).astype(kind), photometric="minisblack")

        yield case("tiff", f"values of type {kind}", "v.tif", make_kind, "any")


def cases() -> Iterator[Case]:
    """All hostile TIFF files."""
    yield from tiffs()
    yield from float_volumes()
