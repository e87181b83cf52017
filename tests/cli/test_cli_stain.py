"""The verb `stain`."""


def test_a_model_with_a_wrong_checksum(tmp_path, volume, fails):
    import torch

    from tomostain.io import ModelSpec, save_model

    spec = ModelSpec(generator={"name": "resnet"}, voxel_um=20.0, recipe="x", stain="x", tomostain_version="0")
    save_model(tmp_path / "model", spec, {"w": torch.zeros(1)})
    with (tmp_path / "model/model.yaml").open("a") as file:
        file.write("\n")
    line = fails("stain", tmp_path / "model", volume, tmp_path / "stained.ome.zarr")
    assert "model.yaml" in line
    assert "SHA256SUMS" in line or "checksum" in line


def test_normalise_accepts_listed_values_and_excludes_other_options(tmp_path, volume, fails):
    (tmp_path / "model").mkdir()
    paths = (tmp_path / "model", volume, tmp_path / "out.ome.zarr")
    assert "--normalise full: give auto, range or none" in fails("stain", *paths, "--normalise", "full")
    for other in (("--normalised",), ("--background", 1, "--bone", 2)):
        assert "--normalise: give it without" in fails("stain", *paths, "--normalise", "range", *other)
