"""Named tensors in a file."""

import torch

from tomostain.io.tensors import read_tensors, write_tensors


def test_written_tensors_are_read_again_and_damaged_files_are_not(tmp_path):
    path = tmp_path / "there" / "some.safetensors"
    assert read_tensors(path) is None
    tensors = {"a.mean": torch.arange(5.0)[::2], "b": torch.eye(2)}
    write_tensors(path, tensors)
    loaded = read_tensors(path)
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    path.write_bytes(path.read_bytes()[:20])
    assert read_tensors(path) is None
