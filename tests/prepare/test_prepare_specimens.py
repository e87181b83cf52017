"""Sample pairs from a volume and a slide whose values are all known."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image, ImageCms

from tomostain.dataset.cut_pair import neighbours
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.pair import load_pair
from tomostain.errors import InputError, RegistrationUncertainError
from tomostain.geometry.section import Section, grid_um
from tomostain.imaging.common_grid import common_grid, cut_volume
from tomostain.io import open_slide, open_volume
from tomostain.prepare import PrepareConfig, SpecimenInput, prepare_specimens
from tomostain.prepare.config import registration_options
from tomostain.prepare.table import read_table

VOXEL = 20.0
SHAPE = (60, 80, 90)
UPRIGHT = Section(np.array([100.0, 800.0, 100.0]), np.array([1.0, 0, 0]), np.array([0, 0, 1.0]))


def block(z, y, x):
    """Return grey value and colour, as functions of µm, of a block of bone with a window of soft tissue."""
    bone = (abs(z - 590) < 420) & (abs(y - 790) < 500) & (abs(x - 890) < 600)
    soft = bone & (abs(z - 500) < 120) & (abs(x - 700) < 150)
    grey = np.where(bone, 9000.0, 2000.0)
    colour = np.where(bone[..., None], (150, 90, 140), (240, 240, 240))
    return np.where(soft, 4000.0, grey), np.where(soft[..., None], (110, 140, 190), colour)


def write_specimen(folder: Path, section: Section = UPRIGHT, pixel_um: float = 10.0) -> Path:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    points = np.stack(np.indices(SHAPE), axis=-1) * VOXEL
    grey = block(*np.moveaxis(points, -1, 0))[0] + rng.normal(0, 150, SHAPE)
    tifffile.imwrite(folder / "volume.tif", grey.astype(np.uint16), photometric="minisblack")
    on_slide = grid_um((100, 150), pixel_um)
    colour = block(*np.moveaxis(section.to_volume_um(section.slide_to_section_um(on_slide)), -1, 0))[1]
    noisy = np.clip(colour + rng.normal(0, 2, colour.shape), 0, 255)
    Image.fromarray(noisy.astype(np.uint8)).save(folder / "slide.png")
    (folder / "section.yaml").write_text(yaml.safe_dump(section.to_dict()))
    return folder


def write_table(path: Path, names, extra: str = "", cells: str = "") -> Path:
    lines = [f"{n},{n}/volume.tif,{n}/slide.png,{n}/section.yaml,{VOXEL},10{cells}" for n in names]
    table = path / "specimens.csv"
    table.write_text("\n".join([f"specimen,volume,slide,section,voxel_um,pixel_um{extra}", *lines]) + "\n")
    return table


def test_pairs_are_at_the_position_of_the_section(tmp_path):
    affine = np.array([[1.0, 0.01, 35.0], [-0.01, 1.02, 60.0]])
    section = Section(UPRIGHT.origin_um, UPRIGHT.row, UPRIGHT.column, affine)
    write_specimen(tmp_path / "s1", section)
    table = write_table(tmp_path, ["s1"], ",subject,implant,weeks,stain", ",rat 1,Ti,8,toluidine-blue")
    pair = prepare_specimens(table, tmp_path / "set").load("s1")
    assert (pair.subject, pair.implant, pair.weeks, pair.voxel_um) == ("rat 1", "Ti", 8, VOXEL)
    place = Section.from_dict(pair.section)
    truth = block(*np.moveaxis(place.to_volume_um(grid_um(pair.ct.shape, VOXEL)), -1, 0))[0]
    for value, expected in ((9000.0, 30000), (2000.0, 10000)):
        assert np.median(pair.ct[truth == value]) == pytest.approx(expected, rel=0.01)
    agree = (pair.ct > 20000) == (truth > 5500)
    assert agree.mean() > 0.97
    purple = pair.histology[..., 1].astype(int) < pair.histology[..., 0].astype(int) - 20
    assert (purple == (truth == 9000.0))[pair.mask].mean() > 0.96
    assert pair.mask[truth == 9000.0].mean() > 0.95
    assert load_dataset(tmp_path / "set").ids == ("s1",)


def test_an_oblique_plane_is_cut_in_chunks_as_in_one_piece(tmp_path, monkeypatch):
    """A volume that is linear in z, y and x: trilinear interpolation is exact inside it."""
    values = np.einsum("zyxc,c->zyx", np.stack(np.indices((70, 40, 50)), axis=-1).astype(float), [3.0, 5.0, 7.0])

    class Stack:
        shape = values.shape

        def read(self, start, stop):
            assert stop - start <= 9
            return values[start:stop]

    monkeypatch.setattr("tomostain.imaging.common_grid._CHUNK_SLICES", 8)
    row, column = np.array([0.8, 0.6, 0.0]), np.array([0.0, 0.0, 1.0])
    section = Section(np.array([10.0, -20.0, -30.0]), row, column)
    grid, shape = common_grid(section, values.shape, (10.0, 5.0, 5.0), (400, 400), 2.0, 5.0)
    cut = cut_volume(Stack(), (10.0, 5.0, 5.0), grid, shape, 5.0, "v")
    points = grid.to_volume_um(grid_um(shape, 5.0)) / (10.0, 5.0, 5.0)
    expected = points @ [3.0, 5.0, 7.0]
    inside = ((points >= 0) & (points <= np.array(values.shape) - 1)).all(axis=-1)
    assert inside.mean() > 0.9
    np.testing.assert_array_equal(np.isnan(cut), ~inside)
    np.testing.assert_allclose(cut[inside], expected[inside], rtol=1e-5)


def test_a_coarse_pyramid_level_has_the_position_of_the_fine_one(tmp_path):
    from tomostain.io import write_slide

    folder = write_specimen(tmp_path / "s1", pixel_um=5.0)
    fine = np.asarray(Image.open(folder / "slide.png"))
    big = np.kron(fine[:, :, None], np.ones((8, 8, 1, 1), np.uint8)).reshape(800, 1200, 3)
    write_slide(folder / "slide.ome.tif", big, 5.0 / 8)
    Image.fromarray(big).save(folder / "slide.png")
    table = write_table(tmp_path, ["s1"])
    text = table.read_text().replace(",10\n", ",0.625\n")
    table.write_text(text)
    single = prepare_specimens(table, tmp_path / "one").load("s1")
    table.write_text(text.replace("slide.png", "slide.ome.tif"))
    pyramid = prepare_specimens(table, tmp_path / "two").load("s1")
    assert single.histology.shape == pyramid.histology.shape
    difference = abs(single.histology.astype(float) - pyramid.histology)[2:-2, 2:-2]
    assert difference.mean() < 1.0


def test_three_specimens_in_folds_with_a_manual_reference_and_exclusion(tmp_path):
    for name in ("a", "b", "c"):
        write_specimen(tmp_path / name)
    first = prepare_specimens(write_table(tmp_path, ["a"]), tmp_path / "first").load("a")
    drawn = np.zeros(first.ct.shape, np.uint8)
    drawn[: drawn.shape[0] // 2] = 255
    Image.fromarray(drawn).save(tmp_path / "exclude.png")
    table = write_table(tmp_path, ["a", "b", "c"], ",exclude", ",exclude.png")
    config = PrepareConfig(ct_background=2000, ct_bone=5500, test_ids=("c",))
    dataset = prepare_specimens(table, tmp_path / "set", config)
    assert dataset.test == ("c",)
    assert sorted(dataset.folds) == [("a",), ("b",)]
    pair = dataset.load("a")
    assert not pair.mask[drawn > 0].any()
    assert np.median(pair.ct[first.ct > 25000]) == pytest.approx(50000, rel=0.02)


def test_manual_rois(tmp_path):
    write_specimen(tmp_path / "a")
    estimated = prepare_specimens(write_table(tmp_path, ["a"]), tmp_path / "found").load("a")
    rows, columns = np.nonzero(estimated.ct > 29000)
    bone = [int(np.median(rows)) - 2, int(np.median(rows)) + 2, int(columns.max()) - 8, int(columns.max()) - 4]
    boxes = {"background": [0, 3, 0, 3], "bone": bone}
    (tmp_path / "rois.yaml").write_text(yaml.safe_dump({"ct": boxes, "histology": boxes}))
    pair = prepare_specimens(write_table(tmp_path, ["a"], ",rois", ",rois.yaml"), tmp_path / "given").load("a")
    assert abs(pair.ct.astype(float) - estimated.ct).mean() < 600
    assert pair.histology[:3, :3].mean() > 245


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("specimen,slide\na,s\n", r"line 2, specimen 'a': 'volume' is empty"),
        ("specimen,volume,slide\na,v,s\n", r"no specimen could be registered \(a: .*v: no such file or folder\)"),
        ("specimen,volume,slide\na,v,s\nb,v,s\n", r"no specimen could be registered; .*scores.csv"),
        ("specimen,volume,slide,section,weaks\na,v,s,t,8\n", "unknown column 'weaks'; did you mean 'weeks'"),
        ("specimen,volume,slide,section\n", "contains no specimens"),
        ("specimen,volume,slide,section\n,v,s,t\n", "line 2: 'specimen' is empty"),
        ("specimen,volume,slide,section\na,v,s,t\n", "t: no such file"),
        ("specimen,volume,slide,section\n../a,v,s,t\n", r"t\.csv, line 2, specimen '\.\./a': .*folder name"),
        ("SPECIMEN,volume,slide\na,v,s\n", "unknown column 'SPECIMEN'; did you mean 'specimen'"),
        ("specimen,volume,slide,voxel_um\na,v,s,1_0\n", "voxel_um is '1_0'; state a number above 0"),
        ("PK\x03\x04", "is a workbook .*, not a CSV table; save it as 'CSV UTF-8'"),
    ],
)
def test_a_table_that_is_wrong_is_named(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        prepare_specimens(tmp_path / "t.csv", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_specimen_that_is_wrong_is_named(tmp_path):
    folder = write_specimen(tmp_path / "a")
    table = write_table(tmp_path, ["a"])
    far = Section(np.array([0.0, 9000.0, 0.0]), UPRIGHT.row, UPRIGHT.column)
    (folder / "section.yaml").write_text(yaml.safe_dump(far.to_dict()))
    with pytest.raises(InputError, match="specimen 'a': the overlap of volume and slide is less than 8 pixels wide"):
        prepare_specimens(table, tmp_path / "set")
    (folder / "section.yaml").write_text("origin_um: [0, 0, 0]\n")
    with pytest.raises(InputError, match=r"section\.yaml: key 'row' is missing"):
        prepare_specimens(table, tmp_path / "set")
    (folder / "section.yaml").write_text(yaml.safe_dump(UPRIGHT.to_dict()))
    table.write_text(table.read_text().replace(",20.0,", ",twenty,"))
    with pytest.raises(InputError, match="specimen 'a': voxel_um is 'twenty'"):
        prepare_specimens(table, tmp_path / "set")
    tifffile.imwrite(folder / "volume.tif", np.full(SHAPE, 5, np.uint16), photometric="minisblack")
    with pytest.raises(InputError, match=r"volume\.tif: every grey value is 5"):
        prepare_specimens(write_table(tmp_path, ["a"]), tmp_path / "set")


def test_two_sections_of_one_specimen_get_their_own_names(tmp_path):
    write_specimen(tmp_path / "a")
    dataset = prepare_specimens(write_table(tmp_path, ["a", "a"]), tmp_path / "set")
    assert dataset.ids == ("a-1", "a-2")
    assert {record["subject"] for record in dataset.records.values()} == {"a"}
    assert dataset.folds == ()


def test_a_pair_coarser_than_the_volume_is_averaged_over_it():
    rng = np.random.default_rng(0)
    noise = rng.normal(1000.0, 100.0, (60, 60, 60)).astype(np.float32)
    # A plane wave of 3 voxels, which pixels of 4 voxels cannot resolve, and a ramp, which must remain.
    wave = 300 * np.sin(2 * np.pi * np.arange(60) / 3)[:, None, None]
    ramp = 20 * np.arange(60)[None, :, None]

    class Stack:
        shape, voxel_um = (60, 60, 60), (5.0, 5.0, 5.0)
        values = (noise + wave + ramp).astype(np.float32)

        def read(self, start, stop):
            return self.values[start:stop]

    flat = Section(np.array([50.0, 50.0, 150.0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]))
    cut = cut_volume(Stack(), Stack.voxel_um, flat, (10, 10), 20.0, "v")
    expected = 1000 + 20 * (10 + 4 * np.arange(10))
    # Point samples have a standard deviation of 100, and the wave has 212. The mean of 4³ voxels has 12.5.
    assert np.abs(cut.mean(axis=0) - expected).max() < 30
    assert (cut - expected).std() < 30


def test_white_is_that_of_the_whole_slide_where_the_crop_has_no_glass(tmp_path):
    # The volume ends inside the bone. The glass of the slide is tinted.
    folder = write_specimen(tmp_path / "s1")
    image = np.asarray(Image.open(folder / "slide.png")).astype(float) * (0.9, 1.0, 0.8)
    Image.fromarray(image.astype(np.uint8)).save(folder / "slide.png")
    whole = tifffile.imread(folder / "volume.tif")
    tifffile.imwrite(folder / "volume.tif", whole[12:48, :, 20:70], photometric="minisblack")
    moved = Section(UPRIGHT.origin_um - (12 * VOXEL, 0, 20 * VOXEL), UPRIGHT.row, UPRIGHT.column)
    (folder / "section.yaml").write_text(yaml.safe_dump(moved.to_dict()))
    config = PrepareConfig(ct_background=2000, ct_bone=9000)
    set_ = prepare_specimens(write_table(tmp_path, ["s1"]), tmp_path / "set", config)
    values = yaml.safe_load((set_.folder("s1") / "pair.yaml").read_text())
    assert values["levels"]["histology"]["white"] == pytest.approx([240 * 0.9, 240.0, 240 * 0.8], abs=2)


def test_a_pair_states_the_colour_profile_of_its_slide(tmp_path):
    folder = write_specimen(tmp_path / "s1")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.open(folder / "slide.png").save(folder / "slide.png", icc_profile=srgb)
    write_specimen(tmp_path / "s2")
    config = PrepareConfig(ct_background=2000, ct_bone=9000)
    set_ = prepare_specimens(write_table(tmp_path, ["s1", "s2"]), tmp_path / "set", config)
    first, second = (yaml.safe_load((set_.folder(name) / "pair.yaml").read_text()) for name in ("s1", "s2"))
    assert "sRGB" in first["slide_colours"]["profile"]
    assert first["slide_colours"]["conversion"] == "none, it is sRGB"
    assert second["slide_colours"] == {"profile": "none stated", "conversion": "none, read as sRGB"}
    pair = load_pair(set_.folder("s1"))
    older = {key: value for key, value in first.items() if key != "slide_colours"}
    (set_.folder("s1") / "pair.yaml").write_text(yaml.safe_dump(older))
    again = load_pair(set_.folder("s1"))
    np.testing.assert_array_equal(again.histology, pair.histology)
    assert again.section == pair.section


def test_an_existing_output_is_reported_before_the_search(tmp_path, monkeypatch):
    write_specimen(tmp_path / "s1")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("mine")
    monkeypatch.setattr("tomostain.prepare.specimens.find_sections", lambda *_: pytest.fail("searched"))
    with pytest.raises(InputError, match="exists already"):
        prepare_specimens(write_table(tmp_path, ["s1"]), tmp_path / "set")


def test_the_options_of_registration_are_the_studys_unless_given(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("specimen,volume,slide,implant\na,v,s,PEEK\nb,v,s,Mg-5Gd\nc,v,s,\n")
    config = PrepareConfig.from_dict({"seed": 5, "ct_bone": 7.0, "registration": {"seed": 9, "thickness_um": 20.0}})
    resolved = [registration_options(row.values.get("implant", ""), config) for row in read_table(table)]
    assert [options["material"] for options in resolved] == ["light", "dense", None]
    assert {(o["seed"], o["ct_bone"], o["thickness_um"]) for o in resolved} == {(9, 7.0, 20.0)}
    assert registration_options("Ti", PrepareConfig(seed=5))["seed"] == 5
    # The resolved configuration in prepare.yaml gives the same result again.
    again = PrepareConfig.from_dict(yaml.safe_load(config.to_yaml()))
    assert [registration_options(row.values.get("implant", ""), again) for row in read_table(table)] == resolved


@pytest.mark.parametrize("key", ["ct_bone", "voxel_um", "margin_um", "deform"])
def test_options_that_also_hold_for_pairs_are_refused_in_the_registration(key):
    with pytest.raises(InputError, match=rf"registration.{key}: "):
        PrepareConfig.from_dict({"registration": {key: True if key == "deform" else 7.0}})


def test_neighbouring_slices_are_one_pixel_apart_along_the_normal(tmp_path):
    """A volume that is linear in z, y and x, and an oblique section: the values of each plane are known."""
    slope = np.array([3.0, 5.0, 7.0])
    grey = 100 + np.stack(np.indices((60, 50, 40)), axis=-1) @ slope
    tifffile.imwrite(tmp_path / "volume.tif", grey.astype(np.float32), photometric="minisblack")
    volume = open_volume(tmp_path / "volume.tif", voxel_um=10.0)
    section = Section(np.array([200.0, 100.0, 100.0]), np.array([0.0, 0.8, 0.6]), np.array([1.0, 0.0, 0.0]))
    shape, pixel_um = (12, 14), 12.0
    middle = cut_volume(volume, volume.voxel_um, section, shape, pixel_um, "v")
    planes = neighbours(volume, section, shape, pixel_um, 2, middle)
    for number, plane in enumerate(planes):
        points = section.to_volume_um(grid_um(shape, pixel_um)) + (number - 2) * pixel_um * section.normal
        np.testing.assert_allclose(plane, 100 + points / 10.0 @ slope, rtol=1e-4)


def test_beyond_the_volume_a_neighbour_repeats_the_plane_before(tmp_path):
    values = np.arange(3, dtype=np.float32).repeat(400).reshape(3, 20, 20)
    tifffile.imwrite(tmp_path / "volume.tif", values, photometric="minisblack")
    volume = open_volume(tmp_path / "volume.tif", voxel_um=10.0)
    section = Section(np.array([10.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    middle = cut_volume(volume, volume.voxel_um, section, (20, 20), 10.0, "v")
    planes = neighbours(volume, section, (20, 20), 10.0, 3, middle)
    steps = [float(plane[5, 5]) for plane in planes]
    assert steps in ([0, 0, 0, 1, 2, 2, 2], [2, 2, 2, 1, 0, 0, 0])  # from the sign of the normal
    assert all(np.ptp(plane) == 0 for plane in planes)


def test_a_dataset_keeps_as_many_slices_as_were_asked_for(tmp_path):
    write_specimen(tmp_path / "s1")
    table = write_table(tmp_path, ["s1"])
    plain = prepare_specimens(table, tmp_path / "plain").load("s1")
    data = prepare_specimens(table, tmp_path / "set", PrepareConfig(ct_slices=3))
    pair = data.load("s1", 3)
    np.testing.assert_array_equal(pair.ct, plain.ct)
    np.testing.assert_array_equal(pair.slices[1], pair.ct)
    # Independent noise in each plane, the same anatomy.
    assert not np.array_equal(pair.slices[0], pair.ct)
    assert np.corrcoef(pair.slices[0].ravel(), pair.ct.ravel())[0, 1] > 0.95
    assert (data.folder("s1") / "ct-slices.tif").is_file()
    assert not (tmp_path / "plain/pairs/s1/ct-slices.tif").exists()


def test_a_turned_png_and_a_table_of_excel_give_the_same_pair(tmp_path):
    for name in ("upright", "turned"):
        write_specimen(tmp_path / name)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise: stored turned the other way
    slide = np.asarray(Image.open(tmp_path / "upright/slide.png"))
    Image.fromarray(np.ascontiguousarray(np.rot90(slide))).save(tmp_path / "turned/slide.png", exif=exif)
    first = prepare_specimens(write_table(tmp_path, ["upright"]), tmp_path / "a").load("upright")
    table = tmp_path / "excel.csv"  # semicolons and decimal commas
    header = "specimen;volume;slide;section;voxel_um;pixel_um;weeks"
    row = "turned;turned/volume.tif;turned/slide.png;turned/section.yaml;20,0;10;8"
    table.write_bytes(f"{header}\r\n{row}\r\n".encode("utf-8-sig"))
    second = prepare_specimens(table, tmp_path / "b").load("turned")
    np.testing.assert_array_equal(second.histology, first.histology)
    np.testing.assert_array_equal(second.mask, first.mask)
    assert (second.voxel_um, second.weeks) == (20.0, 8)


def test_a_table_of_too_many_lines_is_refused_before_a_volume_is_opened(tmp_path):
    (tmp_path / "a.csv").write_text("specimen,volume,slide\n" + "a,gone,gone.tif\n" * 10_001)
    with pytest.raises(InputError, match="10001 lines; a study has at most 10000 specimens"):
        read_table(tmp_path / "a.csv")


def test_open_specimens_give_the_same_pairs_as_a_table(tmp_path):
    folder = write_specimen(tmp_path / "s1")
    columns, cells = ",subject,implant,weeks,stain", ",rat 1,Ti,8,toluidine-blue"
    table = write_table(tmp_path, ["s1"], columns, cells)
    expected = prepare_specimens(table, tmp_path / "set").load("s1")
    about = {"subject": "rat 1", "implant": "Ti", "weeks": 8, "stain": "toluidine-blue"}
    volume, slide = open_volume(folder / "volume.tif", voxel_um=VOXEL), open_slide(folder / "slide.png", pixel_um=10)
    arrays = (volume[:], VOXEL), (slide.read()[0], 10.0)
    exclude = np.zeros(expected.mask.shape, bool)
    exclude[:20] = True
    specimens = [
        SpecimenInput("s1", volume, slide, folder / "section.yaml", **about),
        SpecimenInput("s2", *arrays, UPRIGHT, **about, exclude=exclude),
    ]
    for dataset in (prepare_specimens(table), prepare_specimens(specimens)):
        assert dataset.in_memory
        pair = dataset.load("s1")
        np.testing.assert_array_equal(pair.ct, expected.ct)
        np.testing.assert_array_equal(pair.histology, expected.histology)
        np.testing.assert_array_equal(pair.mask, expected.mask)
        assert pair.record() == expected.record()
        assert pair.section == expected.section
    np.testing.assert_array_equal(dataset.load("s2").ct, expected.ct)
    np.testing.assert_array_equal(dataset.load("s2").mask, expected.mask & ~exclude)
    assert prepare_specimens(specimens, tmp_path / "other").ids == ("s1", "s2")


def test_open_specimens_without_a_section_are_registered_or_left_out(tmp_path, monkeypatch):
    folder = write_specimen(tmp_path / "s")
    images = open_volume(folder / "volume.tif", voxel_um=VOXEL), open_slide(folder / "slide.png", pixel_um=10)
    pair = prepare_specimens([SpecimenInput("s", *images, UPRIGHT)]).load("s")
    materials = []

    def register(volume, slide, config, *, device):
        materials.append(config.material)
        if len(materials) == 2:
            raise RegistrationUncertainError("not sure")
        return SimpleNamespace(pair=pair)

    monkeypatch.setattr("tomostain.register.api.register_slide", register)
    specimens = [SpecimenInput("s", *images, implant="Ti"), SpecimenInput("s", *images, implant="PEEK")]
    with pytest.warns(UserWarning, match="specimen 's-2' is left out: not sure"):
        dataset = prepare_specimens(specimens)
    assert (dataset.ids, materials) == (("s-1",), ["dense", "light"])
    np.testing.assert_array_equal(dataset.load("s-1").ct, pair.ct)
    materials[:] = ["dense"]
    with pytest.raises(InputError, match=r"no specimen could be registered \(s: not sure\)"):
        prepare_specimens(specimens[:1])
    with pytest.raises(InputError, match="expected the path of a CSV table or a list of SpecimenInput, found int"):
        prepare_specimens([5])
    with pytest.raises(InputError, match="`section`: expected a Section, a Registration or the path"):
        prepare_specimens([SpecimenInput("s", *images, 5)])
