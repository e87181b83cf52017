"""The study of the noise input: its table for a model of random weights."""

import numpy as np

from studies.recipe.noise import draw, measure, report
from tests.support.toys import RESNET, toy_model
from tomostain.dataset.loaded import LoadedDataset
from tomostain.dataset.pair import Pair
from tomostain.stain import StainConfig, load_translator
from tomostain.stain.noise import stain_seeds
from tomostain.tiling.noise import NoiseSpec


def test_a_truth_that_is_one_of_the_seeds_is_covered(tmp_path):
    model = toy_model(tmp_path / "model", RESNET | {"in_channels": 2}, noise=NoiseSpec(channels=1), patch_px=32)
    translator = load_translator(model, "cpu")
    ct = np.random.default_rng(0).integers(9000, 31000, (64, 70)).astype(np.uint16)
    truth = stain_seeds(translator, ct, StainConfig(), seeds=[2])[0]
    pair = Pair("p", ct, truth, np.ones(ct.shape, bool), 5.0)
    sums = measure(translator, pair, 3)
    assert sums["implant"][0] + sums["other"][0] == ct.size
    assert sums["implant"][4] + sums["other"][4] == ct.size  # everything is covered
    table = report(translator, LoadedDataset.from_pairs([pair]), ("p",), 3)
    assert "one more sample would have the coverage 0.500" in table
    row = draw(translator, pair, 3)
    assert row.shape[0] > 2 * 64
    assert row.shape[1] >= 7 * 2 * 70
    real = row[-128:, -140:]  # the truth is the last image, enlarged twice
    np.testing.assert_array_equal(real[::2, ::2], truth)
