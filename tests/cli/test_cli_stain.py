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
