"""Exports are read back by the reference libraries of their formats."""

import gzip
import json
import re
import sys
import warnings

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

import tomostain
from tomostain.errors import InputError, OtherInputWarning, OtherLevelWarning
from tomostain.io import open_stained, open_volume, write_stack
from tomostain.io.ome_zarr.create import create_stained
from tomostain.view import view_path
from tomostain.view.browser.view import prepared_site
from tomostain.view.export.alpha import tissue_rgba
from tomostain.view.export.formats import export
from tomostain.view.render.flight import fly_through, write_gif
from tomostain.view.render.rgba import rgba
from tomostain.view.sections import section

VOXEL_UM = (12.0, 5.0, 7.0)


@pytest.fixture(scope="module")
def stained(tmp_path_factory):
    """A stained volume of 19 × 30 × 41 voxels (read in two blocks by the exporter) and its colours."""
    volume = np.random.default_rng(3).integers(0, 256, (19, 30, 41, 3), dtype=np.uint8)
    return write_stained(tmp_path_factory.mktemp("stained") / "stained.ome.zarr", volume), volume


def write_stained(path, volume):
    writer = create_stained(path, volume.shape[:3], VOXEL_UM, z_chunk=8, provenance={"model": "none"})
    for z0, z1 in writer.pending():
        writer.write(z0, volume[z0:z1])
    writer.finish()
    return path


@pytest.mark.parametrize("to", ["rgba-tiff", "rgb-tiff"])
def test_tiff_stacks(stained, tmp_path, to):
    path, volume = stained
    out = export(path, tmp_path / "slices", to)
    names = sorted(file.name for file in out.iterdir())
    assert names == ["export.yaml", *(f"slice_{z:04d}.tif" for z in range(19))]
    read = np.stack([tifffile.imread(out / name) for name in names[1:]])
    np.testing.assert_array_equal(read, rgba(volume) if to == "rgba-tiff" else volume)
    with tifffile.TiffFile(out / names[1]) as file:
        assert file.pages[0].tags["XResolution"].value[1] / file.pages[0].tags["XResolution"].value[0] == pytest.approx(
            7
        )
        assert "spacing=12" in file.pages[0].description
        if to == "rgba-tiff":
            assert file.pages[0].extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)
    with Image.open(out / names[1]) as image:
        np.testing.assert_array_equal(np.asarray(image), read[0])
    note = yaml.safe_load((out / "export.yaml").read_text())
    assert note["voxel_um"] == list(VOXEL_UM)
    formula = {"rule": "paper", "formula": "255 - mean(R, G, B)"}
    assert note["alpha"] == (formula if to == "rgba-tiff" else None)


def test_slices_are_named_like_the_input(stained, tmp_path):
    path, volume = stained
    folder = tmp_path / "reco"
    folder.mkdir()
    for number in range(19):
        tifffile.imwrite(folder / f"scan12_rec_{number + 95}.tiff", np.zeros((30, 41), np.uint16))
    out = export(path, tmp_path / "slices", "rgb-tiff", like=folder)
    assert {file.name for file in out.glob("*.tif")} == {f"scan12_rec_{number + 95}.tif" for number in range(19)}
    for number in (0, 4, 5, 18):  # 99 and 100 are in the order of their numbers, not of their names
        read = tifffile.imread(out / f"scan12_rec_{number + 95}.tif")
        np.testing.assert_array_equal(read, volume[number])
    (folder / "scan12_rec_113.tiff").unlink()
    with pytest.raises(InputError, match="has 18 slices, but the stained volume has 19"):
        export(path, tmp_path / "other", "rgb-tiff", like=folder)


def test_alpha_by_tissue_and_by_ct(stained, tmp_path):
    path, volume = stained
    out = export(path, tmp_path / "tissue", alpha="tissue")
    read = np.stack([tifffile.imread(file) for file in sorted(out.glob("*.tif"))])
    np.testing.assert_array_equal(read[..., :3], volume)
    np.testing.assert_array_equal(read[..., 3], np.where(rgba(volume)[..., 3] > 40, 255, 0))
    assert yaml.safe_load((out / "export.yaml").read_text())["alpha"]["rule"] == "tissue"

    grey = np.random.default_rng(4).integers(0, 1000, (19, 30, 41), dtype=np.uint16)
    write_stack(tmp_path / "ct", grey, voxel_um=VOXEL_UM)
    out = export(path, tmp_path / "by-ct", alpha="ct", ct=tmp_path / "ct")
    read = np.stack([tifffile.imread(file) for file in sorted(out.glob("*.tif"))])
    low, high = np.percentile(grey[[2, 5, 9, 13, 16]], [0.1, 99.9])
    np.testing.assert_allclose(read[..., 3], np.clip((grey - low) / (high - low), 0, 1) * 255, atol=0.51)
    assert "grey value of ct" in yaml.safe_load((out / "export.yaml").read_text())["alpha"]["formula"]


def test_alpha_by_ct_at_a_coarser_level(tmp_path):
    colours = np.zeros((20, 6, 300, 3), np.uint8)
    path = write_stained(tmp_path / "long.ome.zarr", colours)
    grey = np.broadcast_to((np.arange(300) // 2 * 100).astype(np.uint16), (20, 6, 300))
    write_stack(tmp_path / "ct", grey, voxel_um=VOXEL_UM)
    out = export(path, tmp_path / "by-ct", alpha="ct", ct=tmp_path / "ct", level=1)
    read = np.stack([tifffile.imread(file) for file in sorted(out.glob("*.tif"))])
    assert read.shape == (10, 3, 150, 4)
    np.testing.assert_allclose(read[..., 3], np.broadcast_to(np.arange(150) / 149 * 255, (10, 3, 150)), atol=0.51)


def test_impossible_alpha_is_refused(stained, tmp_path):
    path, _ = stained
    write_stack(tmp_path / "ct", np.zeros((3, 4, 5), np.uint16), voxel_um=VOXEL_UM)
    for options, words in (
        ({"alpha": "tisue"}, "did you mean 'tissue'"),
        ({"alpha": "ct"}, "state it with `ct`"),
        ({"alpha": "ct", "ct": tmp_path / "ct"}, "has the shape"),
        ({"ct": tmp_path / "ct"}, "is not used by `alpha=paper`"),
        ({"to": "rgb-tiff", "alpha": "tissue"}, "has no alpha"),
        ({"to": "ome-zarr-0.4", "like": tmp_path / "ct"}, "has none"),
        ({"level": 1, "like": tmp_path / "ct"}, "only level 0"),
    ):
        with pytest.raises(InputError, match=words):
            export(path, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_ome_zarr_04(tmp_path):
    import zarr
    from numcodecs import Blosc
    from ome_zarr_models.v04 import Image as Image04

    colours = np.random.default_rng(5).integers(0, 256, (5, 40, 300, 3), dtype=np.uint8)
    path = write_stained(tmp_path / "stained.ome.zarr", colours)
    out = export(path, tmp_path / "older.ome.zarr", "ome-zarr-0.4")
    image = Image04.from_zarr(zarr.open_group(out, mode="r"))
    multiscale = image.attributes.multiscales[0]
    assert [(axis.name, axis.unit) for axis in multiscale.axes][1:] == [(axis, "micrometer") for axis in "zyx"]
    scales = [dataset.coordinateTransformations[0].scale for dataset in multiscale.datasets]
    assert scales == [[1, 12, 5, 7], [1, 24, 10, 14]]
    assert multiscale.datasets[1].coordinateTransformations[1].translation == [0, 6, 2.5, 3.5]
    # Only its files, without Zarr: the chunk from x 64 on, as the header of the array states.
    header = json.loads((out / "0" / ".zarray").read_text())
    assert (header["zarr_format"], header["dimension_separator"], header["chunks"]) == (2, "/", [3, 5, 40, 64])
    chunk = np.frombuffer(Blosc().decode((out / "0/0/0/0/1").read_bytes()), np.uint8).reshape(3, 5, 40, 64)
    np.testing.assert_array_equal(chunk, np.moveaxis(colours, -1, 0)[..., 64:128])
    # Every chunk file by its path: together they are the volume.
    files = sorted(file for file in (out / "0").rglob("*") if file.is_file() and file.name.isdigit())
    assert [file.relative_to(out / "0").as_posix() for file in files] == [f"0/0/0/{x}" for x in range(5)]
    parts = [np.frombuffer(Blosc().decode(file.read_bytes()), np.uint8).reshape(3, 5, 40, 64) for file in files]
    np.testing.assert_array_equal(np.concatenate(parts, axis=-1)[..., :300], np.moveaxis(colours, -1, 0))
    assert open_stained(out).levels == open_stained(path).levels
    np.testing.assert_array_equal(open_stained(out).read(0, 3, 1), open_stained(path).read(0, 3, 1))
    coarse = export(path, tmp_path / "coarse.ome.zarr", "ome-zarr-0.4", level=1)
    assert open_stained(coarse).levels == open_stained(path).levels[1:]


def test_gif_turns_and_is_read_by_another_library(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    pytest.importorskip("vtkmodules")
    cube = np.full((16, 16, 16, 3), 255, np.uint8)
    cube[4:12, 4:12, 4:12] = (180, 20, 20)
    cube[10:12, 4:12, 4:12] = (20, 20, 180)
    write_gif(tmp_path / "cube.gif", fly_through(rgba(cube), VOXEL_UM, frames=4))
    frames = imagecodecs.gif_decode((tmp_path / "cube.gif").read_bytes())
    assert frames.shape[:3] == (4, 480, 640)
    red = [(frame[..., 0] > 1.5 * frame[..., 2].clip(1)).sum() for frame in frames[..., :3].astype(int)]
    assert red[0] > 5000
    assert red[2] < red[0] / 4  # cut open as far as possible: the blue end remains
    assert (frames[0, 0, 0, :3] == 255).all()
    with Image.open(tmp_path / "cube.gif") as image:
        assert (image.n_frames, image.info["loop"]) == (4, 0)


def test_vti(stained, tmp_path):
    pytest.importorskip("vtkmodules")
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOXML import vtkXMLImageDataReader

    path, volume = stained
    out = export(path, tmp_path / "stained.vti", "vti")
    reader = vtkXMLImageDataReader()
    reader.SetFileName(str(out))
    reader.Update()
    image = reader.GetOutput()
    assert image.GetDimensions() == (41, 30, 19)
    assert image.GetSpacing() == (7.0, 5.0, 12.0)
    scalars = image.GetPointData().GetScalars()
    assert scalars.GetName() == "RGBA"
    np.testing.assert_array_equal(vtk_to_numpy(scalars).reshape(19, 30, 41, 4), rgba(volume))
    assert image.GetFieldData().GetAbstractArray("alpha").GetValue(0) == "paper: 255 - mean(R, G, B)"


def test_nrrd(stained, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    path, volume = stained
    out = export(path, tmp_path / "stained.nrrd", "nrrd", alpha="tissue")
    image = sitk.ReadImage(str(out))
    assert image.GetSpacing() == pytest.approx((0.007, 0.005, 0.012))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), tissue_rgba(volume))
    # According to the format's description, without ITK: a header of lines, an empty line, the voxels.
    header, _, voxels = out.read_bytes().partition(b"\n\n")
    fields = dict(re.split(r":=|: ", line, maxsplit=1) for line in header.decode().splitlines()[1:] if line[0] != "#")
    assert (fields["sizes"], fields["encoding"], fields["type"]) == ("4 41 30 19", "gzip", "unsigned char")
    assert fields["alpha"].startswith("tissue: 255 where")
    read = np.frombuffer(gzip.decompress(voxels), np.uint8).reshape(19, 30, 41, 4)
    np.testing.assert_array_equal(read, tissue_rgba(volume))


def test_refused_inputs(stained, tmp_path):
    path, _ = stained
    with pytest.raises(InputError, match="did you mean 'rgba-tiff'"):
        export(path, tmp_path / "a", "rgba-tif")
    with pytest.raises(InputError, match=r"`level` 9: .* has only level 0"):
        export(path, tmp_path / "a", level=9)
    with pytest.raises(InputError, match=r"must be named \*\.vti"):
        export(path, tmp_path / "a.vtk", "vti")
    with pytest.raises(InputError, match=r"set `to=rgba-tiff`"):
        export(path, tmp_path / "a.nrrd", "nrrd", max_bytes=100)
    (tmp_path / "there.nrrd").write_text("mine")
    with pytest.raises(InputError, match="overwrite=True"):
        export(path, tmp_path / "there.nrrd", "nrrd")
    assert (tmp_path / "there.nrrd").read_text() == "mine"
    with pytest.raises(InputError, match=r"more than the maximum of gif .*; set `to=rgba-tiff`"):
        export(path, tmp_path / "a.gif", "gif", max_bytes=100)
    with pytest.raises(InputError, match=r"must be named \*\.gif"):
        export(path, tmp_path / "a.mp4", "gif")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["there.nrrd"]


@pytest.mark.parametrize(
    ("to", "function"), [("qupath", "tomostain.view.export_sections"), ("onnx", "tomostain.convert_model")]
)
def test_the_function_for_another_format_is_named(stained, tmp_path, to, function):
    with pytest.raises(InputError, match=rf"^`to` {to}: is written by `{function}`$"):
        export(stained[0], tmp_path / "out", to=to)
    stage, _, name = function.removeprefix("tomostain.").rpartition(".")
    assert callable(getattr(getattr(tomostain, stage) if stage else tomostain, name))


def test_pictures_of_a_stained_and_of_a_grey_volume(stained, tmp_path):
    from tomostain.io import read_image

    path, volume = stained
    names = [file.name for file in view_path(path, tmp_path / "view")]
    assert names == ["planes.png", "rendering.png", "rendering-half.png"]
    assert all(read_image(tmp_path / "view" / name).shape[2] == 3 for name in names)
    write_stack(tmp_path / "grey", [image[..., 0] for image in volume], voxel_um=VOXEL_UM)
    assert [file.name for file in view_path(tmp_path / "grey", tmp_path / "planes")] == ["planes.png"]
    with pytest.raises(InputError, match="overwrite=True"):
        view_path(path, tmp_path / "view")


ALTERATIONS = {
    "missing": lambda path: path.unlink(),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "altered": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
}


@pytest.mark.parametrize("how", list(ALTERATIONS))
@pytest.mark.parametrize("verb", ["rgb-tiff", "vti", "ome-zarr-0.4", "gif", "view", "section", "browser", "index"])
def test_a_volume_with_a_broken_shard_is_refused(tmp_path, verb, how):
    volume = np.random.default_rng(3).integers(1, 256, (19, 30, 41, 3), dtype=np.uint8)
    path = write_stained(tmp_path / "stained.ome.zarr", volume)
    ALTERATIONS[how](path / "0/c/0/1/0/0")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=rf"shard 0/c/0/1/0/0 is {'missing' if how == 'missing' else 'damaged'}"):
        _use(path, verb, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def _use(path, verb, folder):
    if verb == "view":
        return view_path(path, folder / "pictures")
    if verb == "section":
        return section(path, folder / "s.ome.tif", points_um=[(110.0, 50.0, 50.0)], normal=(1, 0, 0))
    if verb == "browser":
        with prepared_site(folder, path):
            return None
    if verb == "index":
        return open_stained(path)[9, 3:5]
    return export(path, folder / {"vti": "x.vti", "gif": "x.gif"}.get(verb, "x"), verb)


def test_the_browser_compares_the_shards_of_a_large_volume_when_they_are_served(tmp_path, monkeypatch):
    volume = np.random.default_rng(3).integers(1, 256, (19, 30, 41, 3), dtype=np.uint8)
    path = write_stained(tmp_path / "stained.ome.zarr", volume)
    shard = path / "0/c/0/1/0/0"
    shard.write_bytes(bytes([shard.read_bytes()[0] ^ 1]) + shard.read_bytes()[1:])
    monkeypatch.setattr("tomostain.view.browser.view._VERIFIED_AT_ONCE", 1000)
    with prepared_site(tmp_path, path) as site:
        check = site.checks["stained.ome.zarr"]
        for name in ("zarr.json", "0/zarr.json", "0/SHA256SUMS", "0/c/0/0/0/0", "nothing", "0/c/9/9/9/9"):
            check(name)
        with pytest.raises(InputError, match="shard 0/c/0/1/0/0 is damaged"):
            check("0/c/0/1/0/0")
    shard.unlink()
    with pytest.raises(InputError, match="shard 0/c/0/1/0/0 is missing"), prepared_site(tmp_path, path):
        pass


def test_only_the_shards_that_are_read_are_compared(tmp_path):
    volume = np.random.default_rng(3).integers(1, 256, (19, 30, 41, 3), dtype=np.uint8)
    path = write_stained(tmp_path / "stained.ome.zarr", volume)
    (path / "0/c/0/1/0/0").unlink()
    stained = open_stained(path)
    np.testing.assert_array_equal(stained[:8], volume[:8])
    np.testing.assert_array_equal(stained.block((16, 0, 0), (19, 5, 6)), volume[16:, :5, :6])
    with pytest.raises(InputError, match="shard 0/c/0/1/0/0 is missing"):
        stained.block((15, 0, 0), (19, 5, 6))


def test_an_older_ome_zarr_has_checksums_too(stained, tmp_path):
    out = export(stained[0], tmp_path / "older.ome.zarr", "ome-zarr-0.4")
    np.testing.assert_array_equal(open_stained(out)[:], stained[1])
    assert open_stained(out).damaged_shards() == []
    (out / "0/0/0/0/0").unlink()
    with pytest.raises(InputError, match="shard 0/0/0/0/0 is missing"):
        open_stained(out)[3]


@pytest.mark.parametrize("to", ["gif", "mp4"])
def test_a_film_of_a_small_volume_shows_the_level_that_it_has(stained, tmp_path, monkeypatch, to):
    if to == "mp4":
        pytest.importorskip("av")
    frames = [np.full((32, 32, 3), grey, np.uint8) for grey in (0, 255)]
    monkeypatch.setattr(sys.modules[export.__module__], "fly_through", lambda *_, **__: frames)
    with pytest.warns(OtherLevelWarning, match="has no level 2; the film shows level 0"):
        out = export(stained[0], tmp_path / f"talk.{to}", to, level=2)
    assert out.stat().st_size > 0
    with pytest.raises(InputError, match=r"`level` 2: .* has only level 0, its full size; set `level=0`"):
        export(stained[0], tmp_path / "slices", "rgb-tiff", level=2)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A stained volume with the fingerprint of its input, the input, and another scan of the same shape."""
    folder = tmp_path_factory.mktemp("scans")
    shape = (19, 30, 41)
    for seed, name in enumerate(("right", "other")):
        grey = np.random.default_rng(seed).integers(0, 65536, shape, dtype=np.uint16)
        write_stack(folder / name, grey, voxel_um=VOXEL_UM)
    source = {"name": "right", "fingerprint": open_volume(folder / "right").fingerprint()}
    writer = create_stained(folder / "s.ome.zarr", shape, VOXEL_UM, z_chunk=8, provenance={"input": source})
    for z0, z1 in writer.pending():
        writer.write(z0, np.full((z1 - z0, *shape[1:], 3), 100, np.uint8))
    writer.finish()
    return folder


@pytest.mark.parametrize("verb", ["browser", "export", "section"])
def test_another_ct_gives_a_warning(scans, tmp_path, verb):
    def use(ct):
        if verb == "browser":
            with prepared_site(tmp_path, scans / "s.ome.zarr", ct):
                pass
        elif verb == "export":
            export(scans / "s.ome.zarr", tmp_path / "x", overwrite=True, alpha="ct", ct=ct)
        else:
            options = {"points_um": [(110.0, 50.0, 50.0)], "normal": (1, 0, 0), "overwrite": True}
            section(scans / "s.ome.zarr", tmp_path / "s.ome.tif", ct=ct, **options)

    with pytest.warns(OtherInputWarning, match="other: is not the volume 'right' that was stained"):
        use(scans / "other")
    with warnings.catch_warnings():
        warnings.simplefilter("error", OtherInputWarning)
        use(scans / "right")
