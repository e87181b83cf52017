"""Datasets from aligned images: synthetic images, and the real images of the optional data folder."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from tomostain.config import read_yaml
from tomostain.dataset.dataset import load_dataset
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError, SaturationWarning, SplitWarning
from tomostain.prepare import AlignedConfig, prepare_aligned

DATA = Path(__file__).parents[2] / "../shared/data"
PLAIN = AlignedConfig(voxel_um=5.0, normalise="range", mask="none")


def write_folders(path: Path, names=("a001", "a002", "b001", "c001"), shape=(20, 30)) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    for folder, colours in (("x", ()), ("y", (3,))):
        (path / folder).mkdir()
        for name in names:
            Image.fromarray(rng.integers(0, 256, (*shape, *colours), np.uint8)).save(path / folder / f"{name}.png")
    return path / "x", path / "y"


def test_range_maps_the_types_full_range_and_leaves_histology(tmp_path):
    x, y = write_folders(tmp_path)
    dataset = prepare_aligned(x, y, tmp_path / "set", PLAIN)
    pair = dataset.load("a001")
    grey = np.asarray(Image.open(x / "a001.png"))
    np.testing.assert_allclose(pair.ct, grey / 255 * 40000, atol=0.5)
    np.testing.assert_array_equal(pair.histology, np.asarray(Image.open(y / "a001.png")))
    assert pair.mask.all()
    assert (tmp_path / "set" / "prepare.yaml").read_text().startswith("folds: 5")


def test_arrays_give_the_same_pairs_as_files(tmp_path):
    x, y = write_folders(tmp_path)
    arrays = [{path.stem: np.asarray(Image.open(path)) for path in sorted(folder.iterdir())} for folder in (x, y)]
    config = PLAIN.model_copy(update={"halves": True})
    written = prepare_aligned(x, y, tmp_path / "set", config)
    memory = prepare_aligned(*arrays, config=config)
    assert (memory.ids, memory.test, memory.folds, memory.halves) == (
        written.ids, written.test, written.folds, written.halves,
    )  # fmt: skip
    saved = save_dataset(tmp_path / "saved", memory)
    assert (saved.ids, saved.test, saved.folds, saved.halves) == (memory.ids, memory.test, memory.folds, True)
    for pair_id in memory.ids:
        for dataset in (written, saved):
            mine, other = memory.load(pair_id), dataset.load(pair_id)
            np.testing.assert_array_equal(mine.ct, other.ct)
            np.testing.assert_array_equal(mine.histology, other.histology)
            assert (mine.mask == other.mask).all()
            assert mine.record() == other.record()
    assert read_yaml(saved.folder("a001-left") / "pair.yaml")["source"] == {"ct": "x 'a001'", "histology": "y 'a001'"}


def test_arrays_that_are_no_pairs_are_refused(tmp_path):
    ct, histology = np.arange(72, dtype=np.uint8).reshape(8, 9), np.zeros((8, 9, 3), np.uint8)
    assert prepare_aligned(ct, histology, config=PLAIN).ids == ("pair-1",)
    for x, y, message in (
        (ct, tmp_path, "`x` and `y`: one is a path, the other one holds arrays"),
        ([ct, ct], [histology], "'pair-2': has no partner in `y`"),
        ({"a": ct}, {"b": histology}, "'a': has no partner in `y`"),
        ([], [], "`x`: holds no image"),
        (5, histology, "`x`: expected a path, an array, a list of arrays or a mapping of names to arrays, found int"),
        (ct[0], histology, r"`x`, 'pair-1': has shape \(\); expected one image"),
        (ct, histology[:4], "shapes .8, 9. and .4, 9. differ"),
    ):
        with pytest.raises(InputError, match=message):
            prepare_aligned(x, y, config=PLAIN)
    with pytest.raises(InputError, match="aligned images state no pixel size"):
        prepare_aligned(ct, histology)


def test_subjects_come_from_the_names(tmp_path):
    x, y = write_folders(tmp_path)
    config = PLAIN.model_copy(update={"subject_regex": r"(.+)\d{3}$", "test_subjects": ("a",)})
    dataset = prepare_aligned(x, y, tmp_path / "set", config)
    assert dataset.test == ("a001", "a002")
    assert sorted(dataset.folds) == [("b001",), ("c001",)]
    bad = PLAIN.model_copy(update={"subject_regex": r"(z+)"})
    with pytest.raises(InputError, match=r"subject_regex '\(z\+\)': finds no subject in the name 'a001'"):
        prepare_aligned(x, y, tmp_path / "other", bad)
    with pytest.raises(InputError, match="needs a group"):
        AlignedConfig.from_dict({"subject_regex": "abc"})
    for pattern in ("(a+)+$", "(.*)*z", "(a{2,})*", "((a+?)+)"):
        with pytest.raises(InputError, match="may never end"):
            AlignedConfig.from_dict({"subject_regex": pattern})
    AlignedConfig.from_dict({"subject_regex": r"(?:a+_)*(\d+)[+]?$"})


NAMES = ["P0_s00", "P0_s01", "P1_s00", "P1_s01"]


def test_names_like_several_sections_of_a_subject_give_a_warning(tmp_path):
    x, y = write_folders(tmp_path, names=NAMES)
    with pytest.warns(
        SplitWarning, match=r"4 images may be sections of 2 subjects by their names \(P0, P1\)"
    ) as caught:
        prepare_aligned(x, y, config=PLAIN)
    advised = re.findall(r"'(\(.+?)'", str(caught[0].message))
    assert advised == [r"(.*\d)[\s_-]+\D*\d+$", "(.+)"]
    together, alone = (
        prepare_aligned(x, y, config=PLAIN.model_copy(update={"subject_regex": regex})) for regex in advised
    )
    assert together.subjects(NAMES) == ("P0", "P1")
    assert alone.subjects(NAMES) == tuple(NAMES)


@pytest.mark.parametrize(
    "names",
    [
        ["a001", "a002", "b001", "b002"],
        ["P0_s00", "P0_s01"],
        ["P0_s00", "P1_s00"],
        ["p0", "p1", "p2"],
        ["8w_1", "8w_2", "12w_1", "12w_2"],  # animals of 8 and of 12 weeks
        ["rat1_s01", "rat1_s02", "rat2_s01", "control_s01"],  # the advice would not fit the last one
    ],
)
def test_other_names_give_none(tmp_path, names):
    x, y = write_folders(tmp_path, names=names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare_aligned(x, y, config=PLAIN)


def test_halves_train_left_and_test_right(tmp_path):
    x, y = write_folders(tmp_path, names=["one"])
    tifffile.imwrite(tmp_path / "other.tif", np.asarray(Image.open(y / "one.png")))
    config = PLAIN.model_copy(update={"halves": True, "invert_histology": True})
    dataset = prepare_aligned(x / "one.png", tmp_path / "other.tif", tmp_path / "set", config)
    assert dataset.ids == ("one-left", "one-right")
    assert dataset.split(0).train == ("one-left",)
    assert dataset.test == ("one-right",)
    whole = np.asarray(Image.open(y / "one.png"))
    np.testing.assert_array_equal(dataset.load("one-left").histology, 255 - whole[:, :15])
    np.testing.assert_array_equal(dataset.load("one-right").histology, 255 - whole[:, 15:])


def test_grey_histology_and_grey_in_three_channels_are_accepted(tmp_path):
    x, y = write_folders(tmp_path, names=["a"])
    grey = np.asarray(Image.open(x / "a.png"))
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(x / "a.png")
    Image.fromarray(grey).save(y / "a.png")
    pair = prepare_aligned(x, y, tmp_path / "set", PLAIN).load("a")
    assert (pair.histology == grey[..., None]).all()
    np.testing.assert_allclose(pair.ct, grey / 255 * 40000, atol=0.5)


def test_masks_from_a_folder(tmp_path):
    x, y = write_folders(tmp_path, names=["a"])
    (tmp_path / "masks").mkdir()
    drawn = np.zeros((20, 30), np.uint8)
    drawn[5:9] = 1
    Image.fromarray(drawn).save(tmp_path / "masks" / "a.png")
    config = PLAIN.model_copy(update={"mask": str(tmp_path / "masks")})
    np.testing.assert_array_equal(prepare_aligned(x, y, tmp_path / "set", config).load("a").mask, drawn == 1)
    Image.fromarray(drawn * 0).save(tmp_path / "masks" / "a.png")
    with pytest.raises(InputError, match="the mask of pair 'a' is empty"):
        prepare_aligned(x, y, tmp_path / "set2", config)
    Image.fromarray(drawn[:5]).save(tmp_path / "masks" / "a.png")
    with pytest.raises(InputError, match=r"a\.png: shape \(5, 30\)"):
        prepare_aligned(x, y, tmp_path / "set2", config)
    (tmp_path / "masks" / "a.png").rename(tmp_path / "masks" / "b.png")
    with pytest.raises(InputError, match="no mask for 'a'"):
        prepare_aligned(x, y, tmp_path / "set2", config)


def test_errors_of_the_folders_are_named(tmp_path):
    x, y = write_folders(tmp_path)
    out = tmp_path / "set"
    with pytest.raises(InputError, match="voxel_um: missing"):
        prepare_aligned(x, y, out, AlignedConfig())
    with pytest.raises(InputError, match=r"nowhere: no such file or folder"):
        prepare_aligned(tmp_path / "nowhere", y, out, PLAIN)
    with pytest.raises(InputError, match="one is a file, the other a folder"):
        prepare_aligned(x / "a001.png", y, out, PLAIN)
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(y / "a002.png")
    with pytest.raises(InputError, match=r"a002\.png and .*a002\.png: shapes \(20, 30\) and \(8, 9\) differ"):
        prepare_aligned(x, y, out, PLAIN)
    (y / "a002.png").unlink()
    with pytest.raises(InputError, match=r"x/a002\.png: has no partner in .*y"):
        prepare_aligned(x, y, out, PLAIN)
    tifffile.imwrite(x / "a001.tif", np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match="same name with two suffixes"):
        prepare_aligned(x, y, out, PLAIN)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: contains no images"):
        prepare_aligned(tmp_path / "empty", y, out, PLAIN)
    assert not out.exists()
    assert not list(tmp_path.glob(".*-set"))


def test_errors_of_an_image_are_named(tmp_path):
    x, y = write_folders(tmp_path, names=["a"])
    with pytest.raises(InputError, match=r"y/a\.png: shape \(20, 30, 3\) is a colour image"):
        prepare_aligned(y, x, tmp_path / "set", PLAIN)
    with pytest.raises(InputError, match=r"a\.png: is uint8, but with normalise 'none'"):
        prepare_aligned(x, y, tmp_path / "set", PLAIN.model_copy(update={"normalise": "none"}))
    (x / "a.png").unlink()
    tifffile.imwrite(x / "a.tif", np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32))
    with pytest.raises(InputError, match=r"a\.tif: is float32, which has no full range"):
        prepare_aligned(x, y, tmp_path / "set", PLAIN)
    tifffile.imwrite(x / "a.tif", np.random.default_rng(0).integers(-99, 99, (20, 30), np.int16))
    with pytest.raises(InputError, match=r"a\.tif: is int16, which has no full range"):
        prepare_aligned(x, y, tmp_path / "set", PLAIN)
    with pytest.raises(InputError, match=r"a\.tif: is int16, but with normalise 'none'"):
        prepare_aligned(x, y, tmp_path / "set", PLAIN.model_copy(update={"normalise": "none"}))
    tifffile.imwrite(x / "a.tif", np.full((20, 30), 7, np.uint16))
    with pytest.raises(InputError, match=r"a\.tif: every grey value is 7"):
        prepare_aligned(x, y, tmp_path / "set", PLAIN)


def test_a_warning_of_grey_values_that_are_cut_off_names_the_setting_of_aligned_images():
    rng = np.random.default_rng(0)
    grey = np.full((120, 120), 60.0)
    for column in range(26, 96, 24):
        grey[:, column : column + 14] = 300.0
    ct = np.clip(grey + rng.normal(0, 3, grey.shape), 0, 255).astype(np.uint8)
    histology = np.repeat(np.where(grey > 100, 150, 240)[..., None], 3, axis=2).astype(np.uint8)
    config = AlignedConfig(voxel_um=5, mask="none")
    with pytest.warns(SaturationWarning) as warned:
        prepare_aligned({"a": ct}, {"a": histology}, config=config)
    assert "set `normalise=range`, or" in str(warned[0].message)
    assert "`ct_bone`" not in str(warned[0].message)


def test_the_sources_are_not_replaced(tmp_path):
    x, y = write_folders(tmp_path, names=["a"])
    prepare_aligned(x, y, tmp_path / "set", PLAIN)
    x.rename(tmp_path / "set" / "x")
    with pytest.raises(InputError, match="would be replaced"):
        prepare_aligned(tmp_path / "set" / "x", y, tmp_path / "set", PLAIN, overwrite=True)


@pytest.mark.skipif(not (DATA / "pet_mri").is_dir(), reason="the optional real data are not here")
def test_real_mri_and_pet_become_a_dataset_split_by_subject(tmp_path):
    for folder in ("mri", "pet"):
        (tmp_path / folder).mkdir()
        for path in sorted((DATA / "pet_mri" / folder).iterdir())[::20]:
            (tmp_path / folder / path.name).symlink_to(path.resolve())
    config = AlignedConfig(
        voxel_um=1000, normalise="range", mask="none", subject_regex=r"(.+)\d{3}$", test_subjects=("41",)
    )
    dataset = prepare_aligned(tmp_path / "mri", tmp_path / "pet", tmp_path / "set", config)
    assert {record["subject"] for record in dataset.records.values()} == {"25", "30", "41"}
    assert all(pair_id.startswith("41") for pair_id in dataset.test)
    assert len(dataset.folds) == 2
    assert dataset.load(dataset.ids[0]).ct.shape == (256, 256)


@pytest.mark.skipif(not (DATA / "microct_histology_pair").is_dir(), reason="the optional real data are not here")
def test_a_real_jaw_becomes_a_pair_in_halves(tmp_path):
    folder = DATA / "microct_histology_pair"
    config = AlignedConfig(voxel_um=10.23, halves=True, invert_histology=True)
    prepare_aligned(folder / "microct.mha", folder / "histology.mha", tmp_path / "set", config)
    dataset = load_dataset(tmp_path / "set")
    left = dataset.load(dataset.split(None).train[0])
    assert left.ct.shape == (700, 425)
    assert 0.2 < left.mask.mean() < 0.8
    assert left.histology[:60, 200:].mean() > 250
    assert 28000 < left.ct[left.ct > 25000].mean() < 34000


def test_colours_of_aligned_images_are_those_that_the_files_declare(tmp_path):
    x, y = write_folders(tmp_path, names=["a"], shape=(24, 32))
    rgb = np.asarray(Image.open(y / "a.png"))
    indexed = Image.fromarray(rgb).quantize(64)
    right = np.asarray(indexed.convert("RGB"))
    mask = np.zeros((24, 32), bool)
    mask[3:20, 4:30] = True
    (tmp_path / "masks").mkdir()
    tifffile.imwrite(tmp_path / "masks/a.tif", ~mask, photometric="miniswhite", metadata=None)
    cmyk = Image.fromarray(right).convert("CMYK")
    for number, (name, write) in enumerate(
        {
            "a.tif": lambda p: indexed.save(p),
            "a.bmp": lambda p: indexed.save(p),
            "a.tiff": lambda p: cmyk.save(p),
            "a.ome.tif": lambda p: tifffile.imwrite(
                p, right.astype(np.uint16) << 4, photometric="rgb", metadata={"axes": "YXS", "SignificantBits": 12}
            ),
        }.items()
    ):
        folder = tmp_path / f"y{number}"
        folder.mkdir()
        write(folder / name)
        config = PLAIN.model_copy(update={"mask": str(tmp_path / "masks")})
        pair = prepare_aligned(x, folder, tmp_path / f"set{number}", config).load("a")
        np.testing.assert_array_equal(pair.histology, right)
        np.testing.assert_array_equal(pair.mask, mask)


def test_a_pair_of_aligned_images_states_the_colour_profile_of_the_histology(tmp_path):
    x, y = write_folders(tmp_path, names=("plain", "srgb", "grey", "lab"))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.open(y / "srgb.png").save(y / "srgb.png", icc_profile=srgb)
    Image.open(y / "grey.png").convert("L").save(y / "grey.png")
    lab = np.full((20, 30, 3), (150, 10, 246), np.uint8)
    (y / "lab.png").unlink()
    tifffile.imwrite(y / "lab.tif", lab, photometric="cielab", metadata=None)
    config = PLAIN.model_copy(update={"halves": True})
    dataset = prepare_aligned(x, y, tmp_path / "set", config)
    stated = {name: read_yaml(dataset.folder(name) / "pair.yaml")["slide_colours"] for name in dataset.ids}
    assert stated["plain-left"] == {"profile": "none stated", "conversion": "none, read as sRGB"}
    assert "sRGB" in stated["srgb-left"]["profile"]
    assert stated["srgb-left"]["conversion"] == "none, it is sRGB"
    assert stated["grey-left"]["conversion"] == "none, grey"
    assert stated["lab-left"] == {"profile": "none stated", "conversion": "from lab to sRGB"}
    assert all(stated[f"{name}-left"] == stated[f"{name}-right"] for name in ("plain", "srgb", "grey", "lab"))
    # True from outside: colours are changed exactly where the pair says so.
    assert (dataset.load("srgb-left").histology == np.asarray(Image.open(y / "srgb.png"))[:, :15]).all()
    assert (dataset.load("lab-left").histology != lab[:, :15]).any()


def test_the_full_range_is_that_of_the_significant_bits(tmp_path):
    x, y = write_folders(tmp_path, names=["a"])
    values = np.random.default_rng(0).integers(0, 4096, (20, 30)).astype(np.uint16)
    (x / "a.png").unlink()
    tifffile.imwrite(x / "a.tif", values, photometric="minisblack", bitspersample=12, metadata=None)
    pair = prepare_aligned(x, y, tmp_path / "set", PLAIN).load("a")
    np.testing.assert_allclose(pair.ct, values / 4095 * 40000, atol=0.5)


def test_grey_values_in_three_equal_channels_keep_their_bits(tmp_path):
    x, y = write_folders(tmp_path, names=["a"])
    values = np.random.default_rng(0).integers(0, 40000, (20, 30)).astype(np.uint16)
    (x / "a.png").unlink()
    tifffile.imwrite(x / "a.tif", np.stack([values] * 3, -1), photometric="rgb", metadata=None)
    pair = prepare_aligned(x, y, tmp_path / "set", PLAIN.model_copy(update={"normalise": "none"})).load("a")
    np.testing.assert_array_equal(pair.ct, values)


def test_masks_that_are_ambiguous_are_refused(tmp_path):
    x, y = write_folders(tmp_path, names=["a"])
    drawn = np.zeros((20, 30, 4), np.uint8)
    drawn[5:9, 5:9] = 255
    (tmp_path / "masks").mkdir()
    Image.fromarray(drawn).save(tmp_path / "masks/a.png")
    with pytest.raises(InputError, match=r"masks/a\.png: a mask that is partly transparent is ambiguous"):
        prepare_aligned(x, y, tmp_path / "set", PLAIN.model_copy(update={"mask": str(tmp_path / "masks")}))


def test_names_with_accents_as_one_or_two_characters_are_partners(tmp_path):
    x, y = write_folders(tmp_path, ("a",))
    (x / "a.png").rename(x / "\u00e9.png")
    (y / "a.png").rename(y / "e\u0301.png")
    assert prepare_aligned(x, y, tmp_path / "set", PLAIN).ids == ("\u00e9",)


def test_a_name_that_a_pair_cannot_have_is_named_with_its_file(tmp_path):
    x, y = write_folders(tmp_path, ("a (1)",))
    with pytest.raises(InputError, match=r"x/a \(1\)\.png: .*not usable as a folder name.*; rename the file in both"):
        prepare_aligned(x, y, tmp_path / "set", PLAIN)
