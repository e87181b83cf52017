"""Which stream waits for which while a chunk is stained: copies and operators overlap, and none reads too early."""

import numpy as np
import pytest

from tests.support.simulated_gpu import is_possible, simulated_gpu
from tests.support.toys import LEVELS, RESNET, grey_values, toy_model
from tomostain.stain import StainConfig, load_translator
from tomostain.stain.pass_size import PassSize
from tomostain.stain.slice_stainer import SliceStainer
from tomostain.tiling.noise import FIRST_SLICE

pytestmark = [
    pytest.mark.skipif(not is_possible(), reason="this torch has GPUs, or another layout"),
    pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor"),  # torch's own copy of a network
]

CHANNEL = RESNET | {"norm": "channel"}
SHAPE = (4, 40, 44)


class Stained:
    """A chunk with the colours of two other axes that is stained in two batches, and what happened on the streams."""

    def __init__(self, gpu, model, planar):
        stainer = SliceStainer(
            load_translator(model, "cuda:0"), StainConfig(patch_px=32).for_model(32, True), LEVELS, planar=planar
        )
        stainer.size = PassSize(slices=2, tile_px=44)
        self.gpu = gpu
        gpu.record_acts()
        grey = stainer.upload(grey_values(SHAPE), SHAPE[0])
        grey.others = [stainer.transfer.upload(np.zeros((*SHAPE, 3), np.uint8)) for _ in range(2)]
        self.uploaded = [grey, *grey.others]
        self.pending = stainer.begin(grey, [FIRST_SLICE.moved(index) for index in range(SHAPE[0])])
        self.pending.result()

    def places(self, what, about=None, stream=None):
        """Return where something happened in the list of what happened."""
        return [
            place
            for place, act in enumerate(self.gpu.acts)
            if act.what == what and (about is None or about in act.about) and stream in {None, act.stream}
        ]

    def stream(self, place):
        return self.gpu.acts[place].stream

    def memory(self, place):
        (memory,) = self.gpu.acts[place].about
        return memory


@pytest.fixture(params=[False, True], ids=["colours last", "planar"])
def stained(request, monkeypatch, tmp_path):
    model = toy_model(tmp_path / "model", CHANNEL)
    with simulated_gpu(monkeypatch) as gpu:
        yield Stained(gpu, model, request.param)


def test_operators_wait_for_the_copy_of_what_they_use(stained):
    assert len(stained.uploaded) == 3
    for each in stained.uploaded:
        memory = stained.gpu.memory_of(each.values)
        (copied,) = stained.places("upload", memory)
        used = stained.places("operator", memory)
        assert {stained.stream(place) for place in used} == {"default"}
        assert stained.stream(copied) != "default"
        (recorded,) = stained.places("record", each.event.name, stained.stream(copied))
        (waited,) = stained.places("wait_event", each.event.name, "default")
        assert copied < recorded < waited < used[0]


def test_memory_of_uploaded_values_is_kept_for_the_stream_that_uses_them(stained):
    for each in stained.uploaded:
        memory = stained.gpu.memory_of(each.values)
        assert stained.places("record_stream", memory, "default")


def test_a_copy_to_the_host_waits_for_the_operators_before_it(stained):
    downloads = stained.places("download")
    assert len(downloads) == 3  # the colours of two batches, and the numbers of wrong values
    streams = {stained.stream(place) for place in downloads}
    assert len(streams) == 1
    assert not streams & {"default", *(stained.stream(place) for place in stained.places("upload"))}
    for download in downloads:
        made = [place for place in stained.places("operator", stained.memory(download)) if place < download]
        waits = stained.places("wait_stream", "default", stained.stream(download))
        assert [place for place in waits if made[-1] < place < download]


def test_memory_of_results_is_kept_for_the_stream_that_copies_them(stained):
    for download in stained.places("download"):
        assert stained.places("record_stream", stained.memory(download), stained.stream(download))


def test_the_host_waits_for_an_event_after_the_last_copy(stained):
    last, event = stained.places("download")[-1], stained.pending.copied.name
    (recorded,) = stained.places("record", event, stained.stream(last))
    (waited,) = stained.places("synchronize", event, "host")
    assert last < recorded < waited
