"""Pairs and datasets on disk: written data are read back, and errors name the problem."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from tomostain.dataset.dataset import Dataset, load_dataset
from tomostain.dataset.pair import Pair, load_pair, save_pair
from tomostain.dataset.writer import save_dataset
from tomostain.errors import InputError, SplitWarning

SECTION = {
    "origin_um": [1.0, 2.0, 3.0],
    "row": [1.0, 0.0, 0.0],
    "column": [0.0, 1.0, 0.0],
    "slide_to_section": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
}


def make_pair(name: str = "a", shape: tuple[int, int] = (12, 16), **keys) -> Pair:
    rng = np.random.default_rng(len(name))
    return Pair(
        name,
        rng.integers(0, 40000, shape).astype(np.uint16),
        rng.integers(0, 256, (*shape, 3)).astype(np.uint8),
        rng.random(shape) > 0.3,
        keys.pop("voxel_um", 20.0),
        **keys,
    )


def make_dataset(path: Path) -> Dataset:
    return save_dataset(path, [make_pair(n) for n in "abcd"], test=["d"], folds=[["a"], ["b"], ["c"]])


def edit_index(folder: Path, **changes) -> None:
    values = yaml.safe_load((folder / "dataset.yaml").read_text())
    (folder / "dataset.yaml").write_text(yaml.safe_dump(values | changes))


def test_a_pair_is_read_as_it_was_written(tmp_path):
    pair = make_pair(specimen="s1", subject="rat 7", implant="Ti", weeks=8, stain="h&e", section=SECTION)
    again = load_pair(save_pair(pair, tmp_path / "a", details={"source": {"volume": "v"}}))
    for name in ("ct", "histology", "mask"):
        np.testing.assert_array_equal(getattr(again, name), getattr(pair, name))
    assert again.record() == pair.record()
    assert again.section == SECTION
    assert again.voxel_um == 20.0
    values = yaml.safe_load((tmp_path / "a" / "pair.yaml").read_text())
    assert values["origin_um"] == SECTION["origin_um"]
    assert values["source"] == {"volume": "v"}


def test_exclude_is_taken_from_the_mask_and_never_overwritten(tmp_path):
    pair = make_pair()
    drawn = np.zeros(pair.ct.shape, bool)
    drawn[:6] = True
    save_pair(pair, tmp_path / "a", exclude=drawn)
    before = (tmp_path / "a" / "exclude.tif").read_bytes()
    save_pair(pair, tmp_path / "a", exclude=~drawn, overwrite=True)
    assert (tmp_path / "a" / "exclude.tif").read_bytes() == before
    np.testing.assert_array_equal(load_pair(tmp_path / "a").mask, pair.mask & ~drawn)


def test_masks_of_other_programs_mark_the_same_pixels(tmp_path):
    """An exclusion with one bit and white as zero, or with an alpha channel, as drawing programs save them."""
    pair = make_pair()
    drawn = np.zeros(pair.ct.shape, bool)
    drawn[:6] = True
    save_pair(pair, tmp_path / "a")
    path = tmp_path / "a" / "exclude.tif"
    tifffile.imwrite(path, ~drawn, photometric="miniswhite", metadata=None)
    np.testing.assert_array_equal(load_pair(tmp_path / "a").mask, pair.mask & ~drawn)
    layers = np.stack([drawn * 255] * 3 + [np.full(drawn.shape, 255)], -1).astype(np.uint8)
    tifffile.imwrite(path, layers, photometric="rgb", extrasamples=["unassalpha"], metadata=None)
    np.testing.assert_array_equal(load_pair(tmp_path / "a").mask, pair.mask & ~drawn)
    layers[..., 3] = drawn * 255
    tifffile.imwrite(path, layers, photometric="rgb", extrasamples=["unassalpha"], metadata=None)
    with pytest.raises(InputError, match=r"exclude\.tif: a mask that is partly transparent"):
        load_pair(tmp_path / "a")
    tifffile.imwrite(path, drawn.T.copy(), photometric="minisblack", metadata=None, extratags=[(274, "H", 1, 6, True)])
    with pytest.raises(InputError, match=r"exclude\.tif: "):
        load_pair(tmp_path / "a")


def test_a_pair_is_not_overwritten_unasked(tmp_path):
    save_pair(make_pair(), tmp_path / "a")
    with pytest.raises(InputError, match=r"ct\.tif.*exists already"):
        save_pair(make_pair(), tmp_path / "a")


def test_unequal_shapes_name_the_pair(tmp_path):
    save_pair(make_pair(), tmp_path / "a")
    tifffile.imwrite(tmp_path / "a" / "mask.tif", np.ones((5, 5), np.uint8))
    with pytest.raises(InputError, match=r"pair 'a'.*ct \(12, 16\).*mask \(5, 5\)"):
        load_pair(tmp_path / "a")


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path):
    save_pair(make_pair(), tmp_path / "a")
    tifffile.memmap(tmp_path / "a" / "ct.tif", shape=(40000, 40000), dtype=np.uint16)
    with pytest.raises(InputError, match=r"ct\.tif.*\(40000, 40000\)"):
        load_pair(tmp_path / "a")
    (tmp_path / "a" / "ct.tif").unlink()
    with pytest.raises(InputError, match=r"ct\.tif: no such file"):
        load_pair(tmp_path / "a")


def test_a_truncated_image_is_named(tmp_path):
    save_pair(make_pair(shape=(64, 64)), tmp_path / "a")
    path = tmp_path / "a" / "ct.tif"
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputError, match=r"ct\.tif: cannot be read as TIFF"):
        load_pair(tmp_path / "a")


def test_a_mask_that_excludes_everything_names_the_pair(tmp_path):
    save_pair(make_pair(), tmp_path / "a", exclude=np.ones((12, 16), bool))
    with pytest.raises(InputError, match=r"pair 'a'.*excludes everything"):
        load_pair(tmp_path / "a")


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "a  b"])
def test_ids_that_are_not_folder_names_are_refused(name):
    with pytest.raises(InputError, match="folder name"):
        make_pair(name)


def test_types_and_voxel_size_of_a_pair_are_checked():
    pair = make_pair()
    with pytest.raises(InputError, match="must be uint16"):
        Pair("a", pair.ct.astype(np.float32), pair.histology, pair.mask, 5.0)
    with pytest.raises(InputError, match="voxel_um is 0"):
        Pair("a", pair.ct, pair.histology, pair.mask, 0)


def test_a_dataset_is_read_as_it_was_written(tmp_path):
    dataset = make_dataset(tmp_path / "set")
    assert dataset.ids == ("a", "b", "c", "d")
    assert dataset.split(1).train == ("a", "c")
    assert dataset.split(1).validation == ("b",)
    assert dataset.split(1).test == ("d",)
    assert dataset.split(None).train == ("a", "b", "c")
    assert dataset.split(None).validation == ()
    np.testing.assert_array_equal(dataset.load("b").ct, make_pair("b").ct)
    assert (tmp_path / "set" / "pairs" / "a" / "qc.png").stat().st_size > 500
    assert load_dataset(tmp_path / "set" / "dataset.yaml").ids == dataset.ids


def test_unknown_fold_and_pair_are_named(tmp_path):
    dataset = make_dataset(tmp_path / "set")
    with pytest.raises(InputError, match=r"fold 3: .* has 3 folds"):
        dataset.split(3)
    with pytest.raises(InputError, match="no pair 'x'; known: a, b, c, d"):
        dataset.load("x")


def test_a_dataset_too_small_for_folds_trains_on_all(tmp_path):
    dataset = save_dataset(tmp_path / "set", [make_pair("a"), make_pair("b")], test=["b"])
    assert dataset.split(0).train == ("a",)
    with pytest.raises(InputError, match="has 0 folds"):
        dataset.split(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": ["zz"]}, "names 'zz'"),
        ({"test": ["a"]}, "pair 'a' is in more than one"),
        ({"pairs": []}, "is empty"),
        ({"pairs": [{"id": "a"}, {"id": "a"}]}, "names a pair twice"),
        ({"pairs": [{"id": "../a"}]}, "folder name"),
        ({"pairs": [{"name": "a"}]}, "not the index of a dataset"),
        ({"pairs": [{"id": "gone"}], "folds": [], "test": []}, "gone: no such folder"),
        ({"pairs": [{"id": i, "subject": "one"} for i in "abcd"]}, "subject 'one' is split"),
    ],
)
def test_an_index_that_is_wrong_is_named(tmp_path, changes, message):
    make_dataset(tmp_path / "set")
    edit_index(tmp_path / "set", **changes)
    with pytest.raises(InputError, match=message):
        load_dataset(tmp_path / "set")


def test_pairs_without_a_subject_that_split_a_specimen_load_with_a_warning(tmp_path):
    # Datasets of earlier versions have them.
    make_dataset(tmp_path / "set")
    edit_index(tmp_path / "set", pairs=[{"id": i, "specimen": "rat 1"} for i in "abcd"])
    with pytest.warns(SplitWarning, match=r"specimen 'rat 1' is split .* state another `subject` for each"):
        assert load_dataset(tmp_path / "set").subjects("abcd") == ("rat 1",)


def test_several_split_specimens_are_one_warning(tmp_path):
    make_dataset(tmp_path / "set")
    edit_index(tmp_path / "set", pairs=[{"id": i, "specimen": f"rat {n % 2}"} for n, i in enumerate("abcd")])
    with pytest.warns(SplitWarning, match=r"specimen 'rat 0' \(and 1 more\) is split") as caught:
        load_dataset(tmp_path / "set")
    assert len(caught) == 1


def test_a_subject_may_have_the_number_0(tmp_path):
    make_dataset(tmp_path / "set")
    edit_index(tmp_path / "set", pairs=[{"id": i, "subject": n, "specimen": "s"} for n, i in enumerate("abcd")])
    assert load_dataset(tmp_path / "set").subjects("abcd") == ("0", "1", "2", "3")


def test_no_dataset_here(tmp_path):
    with pytest.raises(InputError, match=r"no dataset\.yaml"):
        load_dataset(tmp_path)


def test_mixed_voxel_sizes_are_refused(tmp_path):
    with pytest.raises(InputError, match="pair 'b': its voxel size is 10 µm"):
        save_dataset(tmp_path / "set", [make_pair("a"), make_pair("b", voxel_um=10.0)])
    assert not (tmp_path / "set").exists()


def test_making_a_dataset_again_carries_exclusions_over(tmp_path):
    dataset = make_dataset(tmp_path / "set")
    drawn = np.zeros((12, 16), np.uint8)
    drawn[3:5] = 7
    path = dataset.folder("b") / "exclude.tif"
    tifffile.imwrite(path, drawn)
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        make_dataset(tmp_path / "set")
    again = save_dataset(tmp_path / "set", [make_pair("a"), make_pair("b")], overwrite=True)
    assert again.ids == ("a", "b")
    assert path.read_bytes() == before
    assert not again.load("b").mask[3:5].any()


def test_a_hand_drawn_file_is_never_lost(tmp_path):
    dataset = make_dataset(tmp_path / "set")
    path = dataset.folder("b") / "exclude.tif"
    tifffile.imwrite(path, np.eye(12, 16, dtype=np.uint8))
    with pytest.raises(InputError, match=r"exclude\.tif: the new dataset has no such pair"):
        save_dataset(tmp_path / "set", [make_pair("a")], overwrite=True)
    with pytest.raises(InputError, match=r"exclude\.tif: has 12 x 16 pixels, but the pair has 20 x 20"):
        save_dataset(tmp_path / "set", [make_pair("b", (20, 20))], overwrite=True)
    assert path.exists()
    assert load_dataset(tmp_path / "set").ids == dataset.ids


def test_a_folder_that_is_not_a_dataset_is_never_replaced(tmp_path):
    (tmp_path / "holiday.txt").write_text("sun")
    with pytest.raises(InputError, match=r"not a dataset .* so it is not replaced"):
        save_dataset(tmp_path, [make_pair()], overwrite=True)
    assert (tmp_path / "holiday.txt").exists()


def with_context(pair, number=3):
    rng = np.random.default_rng(5)
    slices = rng.integers(0, 40000, (number, *pair.ct.shape)).astype(np.uint16)
    slices[number // 2] = pair.ct
    return replace(pair, slices=slices)


@pytest.mark.parametrize("number", [1, 3, 5])
def test_slices_are_read_where_they_are_wanted(tmp_path, number):
    pair = with_context(make_pair("a"), number)
    save_dataset(tmp_path / "set", [pair])
    data = load_dataset(tmp_path / "set")
    assert data.load("a").slices is None  # unchanged
    for requested in range(1, number + 1, 2):
        seen = data.load("a", requested).context(requested)
        expected = pair.slices[(number - requested) // 2 : (number + requested) // 2] if requested > 1 else pair.ct
        np.testing.assert_array_equal(seen, expected)
    with pytest.raises(InputError, match=f"pair 'a': holds {number} slice.*{number + 2} are needed.*`ct_slices="):
        data.load("a", number + 2)


def test_slices_that_do_not_belong_to_the_ct_are_named(tmp_path):
    pair = with_context(make_pair("a"))
    for slices, message in (
        (pair.slices[:2], "an odd number"),
        (pair.slices.astype(np.float32), "float32"),
        (pair.slices[:, 1:], "each of the shape"),
        (pair.slices[::-1] + 1, "the middle slice is not ct"),
    ):
        with pytest.raises(InputError, match=f"pair 'a': .*{message}"):
            replace(pair, slices=slices)
    folder = save_dataset(tmp_path / "set", [pair]).folder("a")
    path = folder / "ct-slices.tif"
    tifffile.imwrite(path, np.zeros((70, 4, 4), np.uint16), photometric="minisblack", metadata=None)
    with pytest.raises(InputError, match=r"ct-slices\.tif: holds 66 page\(s\)"):
        load_dataset(tmp_path / "set").load("a", 3)
    path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"ct-slices\.tif: cannot be read as TIFF"):
        load_dataset(tmp_path / "set").load("a", 3)


@pytest.mark.parametrize("target", ["exclude.tif", "nowhere.tif"])
def test_an_exclusion_that_is_a_broken_link_is_not_ignored(tmp_path, target):
    save_pair(make_pair(), tmp_path / "a")
    (tmp_path / "a/exclude.tif").symlink_to(target)
    with pytest.raises(InputError, match=r"exclude\.tif: "):
        load_pair(tmp_path / "a")


def test_a_file_instead_of_a_dataset(tmp_path):
    (tmp_path / "a").write_text("a file")
    with pytest.raises(InputError, match="is a file, but a dataset is a folder"):
        load_dataset(tmp_path / "a")


@pytest.mark.parametrize("name", ["ct.tif", "histology.tif", "mask.tif", "exclude.tif", "ct-slices.tif"])
def test_a_pipe_instead_of_an_image_is_refused_at_once(tmp_path, name):
    save_pair(make_pair(), tmp_path / "a")
    (tmp_path / "a" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "a" / name)
    with pytest.raises(InputError, match=f"{name}: is a pipe, not a file"):
        load_pair(tmp_path / "a", ct_slices=3)


def test_messages_of_tifffile_are_not_shown(tmp_path, caplog):
    """A tag with a type that does not exist is logged by tifffile."""
    save_pair(make_pair(), tmp_path / "a")
    path = tmp_path / "a/ct.tif"
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[0].tags["Software"].offset
    content[offset + 2 : offset + 4] = b"\0\0"
    path.write_bytes(content)
    load_pair(tmp_path / "a")
    assert not caplog.records


@pytest.mark.parametrize(
    "change", [{"folds": "abc"}, {"folds": ["a", "b"]}, {"folds": 3}, {"test": "d"}, {"folds": {"a": 1}}]
)
def test_folds_and_test_set_are_lists(tmp_path, change):
    path = save_dataset(tmp_path / "a", [make_pair(n) for n in "abcd"], test=["d"], folds=[["a"], ["b"]]).path
    values = yaml.safe_load((path / "dataset.yaml").read_text())
    (path / "dataset.yaml").write_text(yaml.safe_dump(values | change))
    with pytest.raises(InputError, match=r"dataset\.yaml: '(folds|test)' is .*, not a list"):
        load_dataset(path)
