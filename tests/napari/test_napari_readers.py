"""Readers and samples: accepted and refused paths, lazy levels, colours in 2D and in 3D."""

import numpy as np
import pytest
import tifffile
import yaml

from tomostain.dataset.pair import Pair, save_pair
from tomostain.errors import InputError
from tomostain.io import Volume, create_stained, write_slide, write_stack
from tomostain.measure.label_files import create_labels

pytest.importorskip("napari")
pytest.importorskip("qtpy")

SIZE = (20.0, 10.0, 10.0)


def colours(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def write_stained(path, rgb, provenance=None, **options):
    writer = create_stained(path, rgb.shape[:3], SIZE, z_chunk=4, provenance=provenance or {}, **options)
    for start, stop in writer.z_chunks():
        writer.write(start, rgb[start:stop])
    writer.finish()
    return path


def save_toy_pair(folder, shape=(6, 8), name="rat"):
    ct = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape) + 10000
    return save_pair(Pair(name, ct, colours(shape), np.ones(shape, bool), 5.0), folder)


def add(viewer, path):
    from tomostain.napari.readers import get_reader

    read = get_reader(str(path))
    assert read is not None
    return [viewer._add_layer_from_data(data, options, kind)[0] for data, options, kind in read(str(path))]


def test_what_is_not_ours_is_not_claimed(tmp_path):
    from tomostain.napari.readers import get_reader, read_path

    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 4), np.uint8))
    (tmp_path / "empty").mkdir()
    foreign = tmp_path / "foreign.zarr"
    foreign.mkdir()
    (foreign / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    for path in (tmp_path / "a.tif", tmp_path / "empty", foreign, tmp_path / "missing.nrrd"):
        assert get_reader(str(path)) is None, path
    assert get_reader([str(tmp_path / "a.tif")] * 2) is None
    with pytest.raises(InputError, match="is not a volume, pair or dataset"):
        read_path(str(tmp_path / "empty"))


def test_a_stained_volume_is_one_colour_layer_in_um(viewer, tmp_path):
    from tomostain.io.metadata.placement import Placement
    from tomostain.napari.layers import source_of, stained_of_layer

    rgb = colours((9, 20, 24))
    path = write_stained(tmp_path / "a.ome.zarr", rgb, placement=Placement((100.0, 0.0, 5.0)))
    (layer,) = add(viewer, path)
    assert layer.rgb
    assert layer.name == "a"
    assert tuple(layer.scale) == SIZE
    assert tuple(layer.translate) == (100, 0, 5)
    assert source_of(layer).kind == "stained"
    assert stained_of_layer(layer).shape == (9, 20, 24)
    np.testing.assert_array_equal(np.asarray(layer.data[3]), rgb[3])
    np.testing.assert_array_equal(np.asarray(layer.data[:, 5, 2:9]), rgb[:, 5, 2:9])


def test_in_3d_three_layers_are_added_up_instead(viewer, tmp_path):
    rgb = colours((9, 20, 24))
    (layer,) = add(viewer, write_stained(tmp_path / "a.ome.zarr", rgb))
    viewer.dims.ndisplay = 3
    assert not layer.visible
    channels = [each for each in viewer.layers if each is not layer]
    assert [each.name for each in channels] == ["a red", "a green", "a blue"]
    assert {each.blending for each in channels} == {"additive"}
    np.testing.assert_array_equal(np.asarray(channels[1].data), rgb[..., 1])
    layer.name = "renamed"
    viewer.dims.ndisplay = 2
    assert list(viewer.layers) == [layer]
    assert layer.visible


def test_an_uncertainty_is_a_map_and_labels_have_names(viewer, tmp_path):
    from tomostain.measure.classes import COLOURS, TissueClass
    from tomostain.napari.layers import layers_of_kind

    rgb = colours((9, 20, 24))
    about = {"doubt": {"map": "novelty", "white": {}, "models": []}}
    (uncertainty,) = add(viewer, write_stained(tmp_path / "u.ome.zarr", rgb, provenance=about))
    assert not uncertainty.rgb
    assert tuple(uncertainty.contrast_limits) == (0, 255)
    np.testing.assert_array_equal(np.asarray(uncertainty.data[2]), rgb[2, ..., 0])
    classes = np.random.default_rng(1).integers(0, 6, (9, 20, 24), dtype=np.uint8)
    writer = create_labels(tmp_path / "l.ome.zarr", classes.shape, SIZE)
    for start, stop in writer.z_chunks():
        writer.write(start, classes[start:stop])
    writer.finish()
    (labels,) = add(viewer, tmp_path / "l.ome.zarr")
    assert layers_of_kind(viewer.layers, "labels") == [labels]
    np.testing.assert_array_equal(np.asarray(labels.data[4]), classes[4])
    np.testing.assert_allclose(labels.get_color(2)[:3], np.array(COLOURS[TissueClass.BONE]) / 255, atol=1 / 255)
    assert "mineralised bone" in list(labels.features["tissue"])


def test_a_folder_of_slices_is_placed_in_um(viewer, tmp_path):
    from tomostain.napari.layers import source_of, volume_of_layer

    grey = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)
    write_stack(tmp_path / "scan", grey, voxel_um=(5.0, 5.0, 5.0))
    (layer,) = add(viewer, tmp_path / "scan")
    assert tuple(layer.scale) == (5, 5, 5)
    assert source_of(layer).path == tmp_path / "scan"
    np.testing.assert_array_equal(volume_of_layer(layer)[2], grey[2])


def test_a_volume_without_a_voxel_size_is_shown_in_pixels(viewer, tmp_path):
    from tomostain.napari.layers import source_of, volume_of_layer

    (tmp_path / "scan").mkdir()
    for z in range(3):
        tifffile.imwrite(tmp_path / "scan" / f"s{z}.tif", np.full((5, 6), z, np.uint16))
    (layer,) = add(viewer, tmp_path / "scan")
    assert "voxel size unknown" in layer.name
    assert source_of(layer).path == tmp_path / "scan"
    assert source_of(layer).voxel_um is None
    with pytest.raises(InputError, match="its voxel size is unknown"):
        volume_of_layer(layer)
    np.testing.assert_array_equal(volume_of_layer(layer, 5)[2], np.full((5, 6), 2))
    layer.scale, layer.units = (0.005,) * 3, ("mm",) * 3
    volume = volume_of_layer(layer)
    assert volume.path == tmp_path / "scan"
    assert volume.voxel_um == pytest.approx((5, 5, 5))


def test_files_that_napari_does_not_read_are_ours(viewer, tmp_path):
    h5py = pytest.importorskip("h5py")
    grey = np.random.default_rng(0).integers(0, 99, (4, 5, 6), dtype=np.uint16)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["data"] = grey
    (layer,) = add(viewer, tmp_path / "scan.h5")
    np.testing.assert_array_equal(np.asarray(layer.data), grey)


def test_coarser_levels_of_a_volume_take_every_second_voxel():
    from tomostain.napari import lazy

    grey = np.random.default_rng(0).integers(0, 99, (5, 300, 7), dtype=np.uint16)
    fine, coarse = lazy.volume_levels(Volume.from_array(grey, 5.0))
    assert coarse.shape == (3, 150, 4)
    np.testing.assert_array_equal(np.asarray(coarse), grey[::2, ::2, ::2])
    np.testing.assert_array_equal(coarse[1, 3:9], grey[2, 6:18:2, ::2])
    np.testing.assert_array_equal(fine[..., 3], grey[..., 3])
    np.testing.assert_array_equal(fine[-1, ::-1], grey[-1, ::-1])
    assert fine[2:2].shape == (0, 300, 7)
    assert (fine.ndim, fine.size, fine.nbytes, len(fine)) == (3, grey.size, grey.nbytes, 5)
    with pytest.raises(IndexError, match="out of range"):
        fine[5]


def test_parts_read_last_are_not_read_again():
    from tomostain.napari.lazy import LazyArray

    reads = []

    def block(first, end):
        reads.append((tuple(first), tuple(end)))
        return np.zeros([b - a for a, b in zip(first, end, strict=True)])

    array = LazyArray((3, 4), float, block, lazy_axes=2)
    assert array[1].shape == array[1].shape == (4,)
    assert array[:, 1:3][1:].shape == (2, 2)  # a view reads nothing
    assert reads == [((1, 0), (2, 4))]


def test_a_pair_has_three_layers(viewer, tmp_path):
    from tomostain.napari.layers import layers_of_kind

    save_toy_pair(tmp_path / "pair")
    for path in (tmp_path / "pair", tmp_path / "pair" / "pair.yaml"):
        ct, histology, mask = add(viewer, path)
        assert (ct.ndim, histology.rgb, mask.data.dtype) == (2, True, np.uint8)
        assert {tuple(each.scale) for each in (ct, histology, mask)} == {(5, 5)}
    assert len(layers_of_kind(viewer.layers, "histology", "mask")) == 4


def test_a_dataset_is_a_stack_of_its_pairs(viewer, tmp_path):
    shapes = {"a": (6, 8), "b": (9, 5)}
    for name, shape in shapes.items():
        save_toy_pair(tmp_path / "data" / "pairs" / name, shape, name)
    pairs = [{"id": name, "subject": name} for name in shapes]
    (tmp_path / "data" / "dataset.yaml").write_text(yaml.safe_dump({"voxel_um": 5.0, "pairs": pairs}))
    ct, histology, mask = add(viewer, tmp_path / "data")
    assert ct.data.shape == (2, 9, 8)
    assert histology.data.shape == (2, 9, 8, 3)
    assert ct.metadata["pairs"] == ("a", "b")
    assert np.asarray(mask.data[1]).sum() == 45
    assert np.asarray(ct.data[0])[5, 7] == 10047
    assert (np.asarray(histology.data[1])[:, 5:] == 255).all()


def test_a_specimen_has_its_slide_to_the_right(viewer, tmp_path):
    write_stack(tmp_path / "rat" / "volume", np.zeros((3, 4, 5), np.uint16), voxel_um=(5.0,) * 3)
    write_slide(tmp_path / "rat" / "slide.ome.tif", colours((30, 40)), 2.5)
    (tmp_path / "rat" / "specimen.yaml").write_text("id: rat\n")
    volume, slide = add(viewer, tmp_path / "rat")
    assert volume.ndim == 3
    assert slide.translate[-1] > 4 * 5
    assert tuple(slide.scale) == (2.5, 2.5)


def test_a_measurement_shows_labels_and_hidden_maps(viewer, tmp_path):
    from tomostain.napari.readers import read_path

    folder = tmp_path / "measures"
    folder.mkdir()
    (folder / "measure.yaml").write_text("{}\n")
    with pytest.raises(InputError, match="holds no labels and no maps"):
        read_path(str(folder))
    for name in ("labels", "thickness"):
        writer = create_labels(folder / f"{name}.ome.zarr", (4, 16, 16), SIZE)
        for start, stop in writer.z_chunks():
            writer.write(start, np.full((stop - start, 16, 16), 2, np.uint8))
        writer.finish()
    labels, thickness = add(viewer, folder)
    assert labels.visible
    assert not thickness.visible


def test_samples_are_made_once_in_a_thread_and_stored(viewer, qtbot, monkeypatch, tmp_path):
    import pooch

    from tomostain.napari import samples

    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    monkeypatch.setattr(samples, "SIDE", 48)
    ((data, options, kind),) = samples.open_stained_sample()  # the layers follow
    viewer._add_layer_from_data(data, options, kind)
    assert [layer.name for layer in viewer.layers] == [samples.WAITING]
    assert "Sample" in viewer.window.dock_widgets
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=120_000)
    assert [layer.metadata["tomostain"].kind for layer in viewer.layers] == ["ct", "stained"]
    assert "Sample" not in viewer.window.dock_widgets
    made = (samples.cache_folder() / "phantom").stat().st_mtime_ns
    kinds = [options["metadata"]["tomostain"].kind for _, options, _ in samples.open_stained_sample()]
    assert kinds == ["ct", "stained"]
    assert len(samples.open_pair()) == 2
    (volume,) = samples.open_ct()
    assert volume[0].shape == (48, 48, 48)
    assert (samples.cache_folder() / "phantom").stat().st_mtime_ns == made
    samples.clear_samples()
    assert not samples.cache_folder().exists()


def test_a_sample_that_cannot_be_made_is_reported(viewer, qtbot, monkeypatch, tmp_path):
    import pooch

    from tomostain.napari import samples

    reports = []
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    monkeypatch.setattr(samples, "show_error", reports.append)
    monkeypatch.setattr(samples, "SIDE", 1)  # the phantom refuses it
    assert len(samples.open_ct()) == 1
    qtbot.waitUntil(lambda: len(reports) == 1, timeout=60_000)
    assert "could not be made" in reports[0]
    assert "Sample" not in viewer.window.dock_widgets


def counting(volume_reads, shape=(400, 300, 320), dtype=np.uint16):
    """Return the levels of a volume in memory; each slice that is read is added to a list."""
    from tomostain.napari.lazy import volume_levels

    class Source:
        def __init__(self):
            self.shape, self.dtype = shape, np.dtype(dtype)

        def __getitem__(self, index):
            volume_reads.extend(range(*index.indices(shape[0])))
            return np.full((len(range(*index.indices(shape[0]))), *shape[1:]), index.start, dtype)

    return volume_levels(Volume.from_array(Source(), 5.0))


@pytest.mark.parametrize("level", [0, 1])
def test_a_move_of_the_slider_reads_one_slice(level):
    from napari.components import ViewerModel

    from tomostain.napari.lazy import shown

    reads = []
    data, multiscale = shown(counting(reads))
    model = ViewerModel()
    layer = model.add_image(data, contrast_limits=(0, 400), rgb=False, **multiscale)
    layer.data_level = level
    layer.corner_pixels = np.array([[0, 0, 0], np.array(data[level].shape) - 1])
    model.dims.set_point(0, 100)
    reads.clear()
    model.dims.set_point(0, 203)
    # The slice itself, and the one of the thumbnail, which is of the coarsest level.
    assert set(reads) == ({203, 204} if level == 0 else {204})
    assert len(reads) <= 2
    assert layer._slice.image.raw.shape == data[level].shape[1:]
    reads.clear()
    model.dims.set_point(0, 203)
    assert not reads


def test_a_file_that_napari_read_is_opened_by_its_path(viewer, tmp_path):
    from tomostain.napari.layers import file_of, volume_of_layer

    grey = np.random.default_rng(0).integers(0, 99, (4, 5, 6), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "scan.tif", grey, photometric="minisblack")
    (layer,) = viewer.open(tmp_path / "scan.tif", plugin="napari")
    assert file_of(layer) == tmp_path / "scan.tif"
    layer.scale, layer.units = (5,) * 3, ("µm",) * 3
    assert volume_of_layer(layer).path == tmp_path / "scan.tif"
    layer.data = grey[:2]  # no longer the file
    assert file_of(layer) is None
    assert volume_of_layer(layer).shape == (2, 5, 6)


def test_a_sample_opens_while_another_one_is_made(monkeypatch, tmp_path):
    import pooch

    from tomostain.napari import samples

    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    (samples.cache_folder() / samples.PHANTOM).mkdir(parents=True)
    with samples._lock:
        assert samples.phantom_folder() == samples.cache_folder() / samples.PHANTOM
