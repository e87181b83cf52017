"""Older names of parameters and classes keep working, with a warning."""

import warnings

import numpy as np
import pytest

from tomostain.deprecation import renamed_parameters
from tomostain.errors import DamagedDataWarning, OutOfDistributionWarning
from tomostain.io import create_stained
from tomostain.view.browser.view import serve


def test_the_older_name_of_a_parameter_is_passed_on():
    @renamed_parameters(slab="z_chunk")
    def thickness(*, z_chunk: int = 2) -> int:
        return z_chunk

    with pytest.warns(DeprecationWarning, match="`slab` of thickness is now `z_chunk`") as caught:
        assert thickness(slab=5) == 5
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert thickness(z_chunk=5) == 5
        assert thickness() == 2


def test_a_volume_is_created_by_the_older_name(tmp_path):
    with pytest.warns(DeprecationWarning, match="`slab` of create_stained is now `z_chunk`"):
        writer = create_stained(tmp_path / "a.ome.zarr", (5, 4, 3), 5.0, slab=2, provenance={})
    with pytest.warns(DeprecationWarning, match="this method of OmeZarrWriter is now z_chunks"):
        assert writer.slabs() == writer.z_chunks() == [(0, 2), (2, 4), (4, 5)]
    writer.write(0, np.zeros((2, 4, 3, 3), np.uint8))


def test_the_viewer_prints_by_the_older_name():
    lines = []
    with pytest.warns(DeprecationWarning, match="`tell` of serve is now `echo`"), pytest.raises(AttributeError):
        serve(None, tell=lines.append)


def test_filters_of_the_earlier_class_still_catch_damaged_data():
    assert issubclass(DamagedDataWarning, OutOfDistributionWarning)
