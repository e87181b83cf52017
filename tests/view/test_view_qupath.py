"""Sections for QuPath and Fiji: one pixel grid for all images of a section, and annotations with exact areas."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from tests.support.outlines import filled
from tests.support.training import toy_pair
from tomostain.cli.main import run
from tomostain.dataset.pair import load_pair, save_pair
from tomostain.errors import InputError
from tomostain.geometry.outlines import Outline
from tomostain.geometry.section import Section
from tomostain.io import create_stained, open_stained, write_stack
from tomostain.measure.classes import COLOURS, TITLES, TissueClass
from tomostain.measure.label_files import write_labels
from tomostain.measure.label_source import LabelArray
from tomostain.measure.virtual_section import cut_volume
from tomostain.view.qupath.export import export_sections
from tomostain.view.qupath.planes import Plane, planes_across
from tomostain.view.sections import section

VOXEL_UM = (10.0, 5.0, 5.0)
SHAPE = (20, 40, 50)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> dict[str, Path | np.ndarray]:
    """Return a stained volume, its µCT, its labels and a pair, with their arrays."""
    folder, rng = tmp_path_factory.mktemp("qupath"), np.random.default_rng(0)
    volume = rng.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
    labels = rng.choice([int(each) for each in TissueClass], SHAPE).astype(np.uint8)
    writer = create_stained(folder / "stained.ome.zarr", SHAPE, VOXEL_UM, z_chunk=8, provenance={"model": "m"})
    for z0, z1 in writer.pending():
        writer.write(z0, volume[z0:z1])
    writer.finish()
    grey = rng.integers(0, 60000, SHAPE).astype(np.uint16)
    write_stack(folder / "ct", grey, voxel_um=VOXEL_UM)
    measures = folder / "measures"
    measures.mkdir()
    write_labels(measures / "labels.ome.zarr", LabelArray(labels, VOXEL_UM))
    (measures / "measure.yaml").touch()
    pose = Section(np.array([100.0, 30.0, 20.0]), np.array([0.0, 0.8, 0.6]), np.array([0.6, -0.48, 0.64]))
    pair = replace(toy_pair("P1", 1), voxel_um=5.0, section=pose.to_dict())
    save_pair(pair, folder / "pair")
    return {
        "stained": folder / "stained.ome.zarr",
        "ct": folder / "ct",
        "measures": measures,
        "pair": folder / "pair",
    } | {
        "volume": volume,
        "grey": grey,
        "labels": labels,
    }


def annotations(path: Path) -> dict[str, dict]:
    """Return the annotations of a file by name, after a check of what QuPath reads."""
    collection = json.loads(path.read_text(encoding="utf-8"))
    assert collection["type"] == "FeatureCollection"
    for feature in collection["features"]:
        assert (feature["type"], feature["geometry"]["type"]) == ("Feature", "MultiPolygon")
        properties = feature["properties"]
        assert (properties["objectType"], properties["isLocked"]) == ("annotation", True)
        assert properties["classification"]["name"] == properties["name"]
        assert all(0 <= value <= 255 for value in properties["classification"]["color"])
    return {feature["properties"]["name"]: feature for feature in collection["features"]}


def pixels(feature: dict, shape: tuple[int, int]) -> np.ndarray:
    """Return the mask of an annotation."""
    polygons = [[np.array(ring) for ring in rings] for rings in feature["geometry"]["coordinates"]]
    return filled([Outline(exterior, tuple(holes)) for exterior, *holes in polygons], shape).astype(bool)


def test_a_plane_is_the_slice_with_its_classes(inputs, tmp_path):
    (plane,) = planes_across(SHAPE, VOXEL_UM, "z")
    result = export_sections(inputs["stained"], tmp_path / "out", [plane], ct=inputs["ct"], labels=inputs["measures"])
    assert plane.name == "z-100um"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.txt",
        "import.groovy",
        "sections.yaml",
        "z-100um.ct.ome.tif",
        "z-100um.geojson",
        "z-100um.labels.ome.tif",
        "z-100um.virtual.ome.tif",
    ]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out/z-100um.virtual.ome.tif"), inputs["volume"][10])
    grey = tifffile.imread(tmp_path / "out/z-100um.ct.ome.tif")
    assert grey.dtype == np.uint16
    np.testing.assert_array_equal(grey, inputs["grey"][10])
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out/z-100um.labels.ome.tif"), inputs["labels"][10])
    found = annotations(tmp_path / "out/z-100um.geojson")
    labels = inputs["labels"][10]
    assert set(found) == {TITLES[each] for each in TissueClass} - {"void"}
    for each in TissueClass:
        if each != TissueClass.VOID:
            np.testing.assert_array_equal(pixels(found[TITLES[each]], labels.shape), labels == each)
            assert found[TITLES[each]]["properties"]["classification"]["color"] == list(COLOURS[each])
    document = yaml.safe_load((tmp_path / "out/sections.yaml").read_text(encoding="utf-8"))
    assert document == json.loads(json.dumps(result.to_dict()))
    (listed,) = document["sections"]
    assert (listed["origin_um"], listed["row_step_um"], listed["column_step_um"]) == ([100, 0, 0], [0, 5, 0], [0, 0, 5])
    counts = {TITLES[each]: int((labels == each).sum()) for each in TissueClass}
    assert {name: each["pixels"] for name, each in listed["classes"].items()} == counts
    assert listed["classes"]["metal"]["area_um2"] == counts["metal"] * 25


def test_all_images_of_a_pair_are_on_its_grid(inputs, tmp_path):
    export_sections(inputs["stained"], tmp_path / "out", pairs=[inputs["pair"]], labels=inputs["measures"])
    pair = load_pair(inputs["pair"])
    read = {}
    for kind in ("virtual", "ct", "slide", "labels"):
        with tifffile.TiffFile(tmp_path / f"out/P1.{kind}.ome.tif") as tiff:
            read[kind] = tiff.asarray()
            pixel = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Pixels"]
        assert (pixel["PhysicalSizeX"], pixel["PhysicalSizeY"], pixel["PhysicalSizeXUnit"]) == (5, 5, "µm")
        plane = pixel["Plane"]
        assert [plane[f"Position{axis}"] for axis in "ZYX"] == [100, 30, 20]
        assert read[kind].shape[:2] == pair.ct.shape
    np.testing.assert_array_equal(read["slide"], pair.histology)
    np.testing.assert_array_equal(read["ct"], pair.ct)
    pose = Section.from_dict(pair.section)
    virtual, inside = cut_volume(open_stained(inputs["stained"]), pose, pair.ct.shape, 5.0)
    np.testing.assert_array_equal(read["virtual"], virtual)
    assert 0 < inside.sum() < inside.size
    mask = annotations(tmp_path / "out/P1.mask.geojson")["correspondence mask"]
    np.testing.assert_array_equal(pixels(mask, pair.ct.shape), pair.mask)
    # The nearest voxels, computed independently; outside the volume nothing is annotated.
    rows, columns = np.nonzero(inside)
    places = pose.origin_um + 5.0 * (rows[:, None] * pose.row + columns[:, None] * pose.column)
    expected = np.zeros(inside.shape, np.uint8)
    expected[inside] = inputs["labels"][tuple(np.rint(places / VOXEL_UM).astype(int).T)]
    np.testing.assert_array_equal(read["labels"], np.where(inside, expected, TissueClass.NOT_MEASURED))
    for name, feature in annotations(tmp_path / "out/P1.geojson").items():
        each = next(each for each in TissueClass if TITLES[each] == name)
        np.testing.assert_array_equal(pixels(feature, inside.shape), expected == each)


def test_labels_may_have_larger_voxels(inputs, tmp_path):
    coarse = np.random.default_rng(4).choice([int(each) for each in TissueClass], (10, 20, 25)).astype(np.uint8)
    write_labels(tmp_path / "coarse.ome.zarr", LabelArray(coarse, (20.0, 10.0, 10.0)))
    (plane,) = planes_across(SHAPE, VOXEL_UM, "z")
    export_sections(inputs["stained"], tmp_path / "out", [plane], labels=tmp_path / "coarse.ome.zarr")
    expected = coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)[10]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out/z-100um.labels.ome.tif"), expected)


def test_a_pair_of_a_resampled_volume_is_cut_where_its_slide_is(inputs, tmp_path):
    """Both volumes state their own position: x in µm from the first voxel of the µCT."""
    ramp = np.broadcast_to(np.arange(80) * 5, (40, 80, 80))
    write_stack(tmp_path / "ct", ramp.astype(np.uint16), voxel_um=5.0)
    stained = np.broadcast_to((np.arange(20) * 20 + 7.5).round()[:, None], (10, 20, 20, 3)).astype(np.uint8)
    stated = {"original_voxel_um": [5.0] * 3, "origin_um": [7.5] * 3, "interpolation": "linear"}
    writer = create_stained(tmp_path / "stained", (10, 20, 20), 20.0, provenance={"resampled": stated})
    for z0, z1 in writer.pending():
        writer.write(z0, stained[z0:z1])
    writer.finish()
    export_sections(tmp_path / "stained", tmp_path / "pair", pairs=[inputs["pair"]])
    pair = load_pair(inputs["pair"])
    pose = Section.from_dict(pair.section)
    places = pose.origin_um + 5.0 * np.stack(np.indices(pair.ct.shape), -1) @ np.stack([pose.row, pose.column])
    red = tifffile.imread(tmp_path / "pair/P1.virtual.ome.tif")[..., 0]
    inside = ((places > 8) & (places < [180, 240, 240])).all(axis=-1)
    assert inside.sum() > 500
    np.testing.assert_allclose(red[inside], places[..., 2][inside], atol=1.5)

    (plane,) = planes_across((10, 20, 20), (20.0,) * 3, "z")
    export_sections(tmp_path / "stained", tmp_path / "plane", [plane], ct=tmp_path / "ct")
    grey = tifffile.imread(next((tmp_path / "plane").glob("*.ct.ome.tif")))
    np.testing.assert_allclose(grey[5, 1:12], stained[0, 5, 1:12, 0], atol=1)


def test_an_oblique_thick_section_and_a_curved_one(inputs, tmp_path):
    oblique = Plane("oblique", ((90.0, 100.0, 100.0),), (1.0, 0.5, 0.0))
    curved = Plane("bent", ((50, 0, 0), (60, 190, 0), (50, 0, 240), (60, 190, 240), (90, 90, 120)), curved=True)
    result = export_sections(inputs["stained"], tmp_path / "out", [oblique, curved], thickness_um=20, pixel_um=2.5)
    assert [section.name for section in result.sections] == ["oblique", "bent"]
    assert [section.about["curved"] for section in result.sections] == [False, True]
    step = np.array(result.sections[0].geometry["row_step_um"])
    assert step @ (1.0, 0.5, 0.0) == pytest.approx(0)
    assert np.linalg.norm(step) == pytest.approx(2.5)
    # The images are those of the verb `section`.
    for plane in (oblique, curved):
        where = {"points_um": plane.points_um, "normal": plane.normal, "curved": plane.curved}
        path = tmp_path / f"{plane.name}.ome.tif"
        section(inputs["stained"], path, **where, thickness_um=20, pixel_um=2.5)
        np.testing.assert_array_equal(
            tifffile.imread(tmp_path / f"out/{plane.name}.virtual.ome.tif"), tifffile.imread(path)
        )


def test_slices_are_evenly_spaced_and_their_names_sort():
    planes = planes_across((40, 40, 40), (2.5, 2.5, 2.5), "x", 10)
    assert [plane.points_um[0][2] for plane in planes[:3]] == [5, 15, 25]
    names = [plane.name for plane in planes_across((40, 40, 40), (2.25, 1, 1), number=3)]
    assert names == sorted(names) == ["z-13.5um", "z-45um", "z-74.25um"]
    assert len({plane.name for plane in planes_across((7, 1, 1), (0.3, 1, 1), number=7)}) == 7
    for axis, number, message in (("q", 1, "give z, y or x"), ("z", 41, "has 40 slices across z")):
        with pytest.raises(InputError, match=message):
            planes_across((40, 40, 40), (1, 1, 1), axis, number)


def test_what_does_not_fit_is_refused(inputs, tmp_path):
    plane = planes_across(SHAPE, VOXEL_UM)
    save_pair(replace(load_pair(inputs["pair"]), section=None), tmp_path / "no-section")
    write_labels(tmp_path / "small.ome.zarr", LabelArray(inputs["labels"][:5], VOXEL_UM))
    write_stack(tmp_path / "small", inputs["grey"][:5], voxel_um=VOXEL_UM)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/measure.yaml").touch()
    for options, message in (
        ({}, "no section is chosen"),
        ({"pairs": [tmp_path / "no-section"]}, "does not state where its section lies"),
        ({"planes": plane, "labels": tmp_path / "small.ome.zarr"}, "has an extent of 50 x 200 x 250 µm"),
        ({"planes": plane, "labels": tmp_path / "empty"}, "holds no labels.ome.zarr"),
        ({"planes": plane, "ct": tmp_path / "small"}, "has the shape"),
        ({"planes": plane * 2}, "two sections have the name 'z-100um'"),
        ({"planes": [Plane("far", ((900.0, 0, 0),), (1.0, 0, 0))]}, "misses the volume"),
    ):
        with pytest.raises(InputError, match=message):
            export_sections(inputs["stained"], tmp_path / "out", **options)
    with pytest.raises(InputError, match="not usable as a folder name"):
        Plane("../a", ((0, 0, 0),), (1, 0, 0))
    assert not (tmp_path / "out").exists()


def test_a_project_of_the_user_is_not_replaced(inputs, tmp_path):
    planes, out = planes_across(SHAPE, VOXEL_UM), tmp_path / "out"
    export_sections(inputs["stained"], out, planes)
    with pytest.raises(InputError, match="exists already"):
        export_sections(inputs["stained"], out, planes)
    (out / "project.qpproj").touch()
    with pytest.raises(InputError, match=r"project.qpproj: is not a file of a export to qupath|not replaced"):
        export_sections(inputs["stained"], out, planes, overwrite=True)
    (out / "project.qpproj").unlink()
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    export_sections(inputs["stained"], out, planes, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first


def test_the_verb(inputs, tmp_path, capsys):
    common = ["export", str(inputs["stained"])]
    assert run(["-q", *common, str(tmp_path / "a"), "--to", "qupath"]) == 0
    assert capsys.readouterr().out == f"written: {tmp_path / 'a'}, 1 section: virtual\n"
    (tmp_path / "cortex.csv").write_text("z_um,y_um,x_um\n70,0,0\n70,100,0\n80,0,100\n")
    words = ["--points", tmp_path / "cortex.csv", "--pair", inputs["pair"], "--labels", inputs["measures"]]
    assert run(["-q", *common, str(tmp_path / "b"), "--to", "qupath", *map(str, words), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in result["sections"]] == ["cortex", "P1"]
    assert result["summary"] == "2 sections: virtual, labels, classes, ct, slide, mask"
    words = ["--through", "50,0,0", "--through", "60,0,0", "--axis", "z"]
    assert run(["-q", *common, str(tmp_path / "c"), "--to", "qupath", *words]) == 0
    for number, index in ((1, 5), (2, 6)):
        image = tifffile.imread(tmp_path / f"c/plane-{number}.virtual.ome.tif")
        np.testing.assert_array_equal(image, inputs["volume"][index])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "qupath", "--level", "1"], "--level: is not for qupath, a format of sections; omit it"),
        (["--to", "qupath", "--author", "A"], "--author: is not for qupath, a format of sections; omit it"),
        (["--to", "nrrd", "--pixel-um", "1"], "--pixel-um: is not for nrrd, a format of volumes; omit it"),
        (["--to", "qupath", "--through", "1,2,3"], "--through: give --normal or --axis"),
        (["--to", "qupath", "--through", "1,2,3", "--axis", "z", "--planes", "2"], "and no --planes"),
        (["--to", "qupath", "--normal", "1,0,0"], "--normal: give --through"),
        (["--to", "qupath", "--curved"], "--curved: is for --points"),
        (["--to", "qupath", "--axis", "q"], "--axis q: give z, y or x"),
        (["--to", "qupath", "--planes", "21"], "--planes 21: the volume has 20 slices across z"),
        (["--to", "qupath", "--blending", "sum"], "--blending sum"),
        (["--to", "qupath", "--labels", "nothing"], "nothing: no such label volume"),
        (["--to", "qupath", "--pair", "nothing"], "nothing: no such pair"),
        (["--to", "qupaht"], "did you mean 'qupath'?"),
    ],
)
def test_wrong_options_are_refused(inputs, tmp_path, capsys, words, message):
    assert run(["export", str(inputs["stained"]), str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


BIOFORMATS = "TOMOSTAIN_BIOFORMATS_JAR"


@pytest.mark.skipif(
    not os.environ.get(BIOFORMATS) or shutil.which("java") is None,
    reason=f"needs java, and {BIOFORMATS} with the path of bioformats_package.jar",
)
def test_bio_formats_reads_every_level(inputs, tmp_path):
    def tool(name: str, *words: object) -> str:
        command = ["java", "-cp", os.environ[BIOFORMATS], f"loci.formats.tools.{name}", "-no-upgrade"]
        done = subprocess.run([*command, *map(str, words)], capture_output=True, text=True, check=True)
        return done.stdout

    planes = planes_across(SHAPE, VOXEL_UM)
    sources = {"ct": inputs["ct"], "labels": inputs["measures"]}
    export_sections(inputs["stained"], tmp_path / "out", planes, **sources, pixel_um=0.4)
    for kind, samples, channel in (
        ("virtual", 3, "virtual histology"),
        ("ct", 1, "µCT"),
        ("labels", 1, "tissue class"),
    ):
        path = tmp_path / f"out/z-100um.{kind}.ome.tif"
        about = tool("ImageInfo", "-nopix", "-noflat", "-omexml", path)
        assert "No validation errors found" in about
        assert "Resolutions = 2" in about
        assert f'Name="{channel}" SamplesPerPixel="{samples}"' in about
        assert 'PhysicalSizeX="0.4" PhysicalSizeXUnit="µm"' in about
        assert 'PositionZ="100.0" PositionZUnit="µm"' in about
        with tifffile.TiffFile(path) as tiff:
            levels = [level.asarray() for level in tiff.series[0].levels]
        for number, level in enumerate(levels):
            tool("ImageConverter", "-overwrite", "-series", number, path, tmp_path / "read.tif")
            read = tifffile.imread(tmp_path / "read.tif")
            np.testing.assert_array_equal(np.moveaxis(read, 0, -1) if read.shape[0] == 3 else read, level)
