"""The benchmark of half precision on trained networks: every way of staining is compared with the same in float32."""

import numpy as np
import pytest

from studies.table1 import half
from tests.support.toys import RESNET, toy_model

UNET = {"name": "unet", "in_channels": 1, "width": 4, "downs": 2, "detail": 3, "norm": "channel"}


@pytest.mark.parametrize(("network", "number"), [(RESNET, 9), (UNET, 3)], ids=["windows", "exact"])
def test_each_way_has_its_like_in_float32(tmp_path, network, number):
    by_way = half.ways(toy_model(tmp_path / "model", network, patch_px=32))
    names = list(by_way)
    assert len(names) == number
    assert names[0].startswith("float32")
    assert {name[name.index(",") :] for name in names} == {
        name[name.index(",") :] for name in names if "float32" in name
    }
    types = {name.split(",")[0]: next(by_way[name][0].network.parameters()).dtype for name in names}
    assert {str(dtype).removeprefix("torch.") for dtype in types.values()} == set(types)


def test_the_table_states_the_deviation_of_half_precision():
    patches = {"pair": ["a", "a", "b", "b"], "ssim": [0.5, 0.6, 0.7, 0.8], "lpips": [0.1] * 4, "psnr": [20.0] * 4}
    better = patches | {"ssim": list(np.asarray(patches["ssim"]) + 0.1)}
    near = {"mean": 0.02, "p99.9": 1.0, "largest": 3.0}
    rows = [
        {"way": "float32, exact tiles", "away": near, "patches": patches},
        {"way": "float16, exact tiles", "away": near, "patches": better},
    ]
    lines = half.table("net", rows).splitlines()
    assert lines[2].endswith("|  |  |  |  |")
    assert "0.1 [0.1, 0.1]" in lines[3]
    assert lines[3].endswith("| 0.02, 1, 3 |")
