"""A CUDA graph holds what is launched on its own GPU, also if another GPU was captured before."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tomostain.networks import cuda_capture
from tomostain.networks.cuda_capture import capturing
from tomostain.stain import runner
from tomostain.train.step_graph import StepGraph

FIRST, SECOND = torch.device("cuda:0"), torch.device("cuda:1")


@pytest.fixture
def captures(monkeypatch):
    """Record the device and the stream of each capture, and the device that is current."""
    made, current = [], [FIRST]

    @contextmanager
    def device(chosen):
        current.append(chosen)
        yield
        current.pop()

    @contextmanager
    def graph(graph, *, stream, capture_error_mode):
        made.append((current[-1], stream, capture_error_mode))
        yield

    cuda_capture._stream.cache_clear()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    yield made
    cuda_capture._stream.cache_clear()


def test_each_gpu_captures_its_own_stream(captures):
    for device in (FIRST, SECOND, FIRST):
        with capturing(object(), device):
            pass
    assert captures == [(each, f"stream of {each}", "thread_local") for each in (FIRST, SECOND, FIRST)]


class OnSecond(nn.Module):
    """A network whose images seem to be on the second GPU."""

    def forward(self, images):
        return images


class Images:
    device = SECOND
    shape = (1, 1, 8, 8)

    def clone(self):
        return self


def test_a_network_is_captured_on_the_gpu_of_its_images(captures, monkeypatch):
    class Stream:
        def wait_stream(self, other):
            pass

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(runner, "refusing_synchronisation", nullcontext)
    cuda_capture._stream(SECOND)  # before the streams below replace the names
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream())
    assert runner._capture(OnSecond(), Images()) is not None
    assert captures == [(SECOND, f"stream of {SECOND}", "thread_local")]


def test_a_step_is_captured_on_the_gpu_of_its_inputs(captures, monkeypatch):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)

    def step(inputs):
        return {"total": [torch.ones(())]}

    step.state = SimpleNamespace(optimisers={})
    graph = StepGraph(step)
    monkeypatch.setattr(graph, "_prepared", lambda inputs: inputs)
    graph._capture(SimpleNamespace(x=Images(), inputs=None))
    assert captures == [(SECOND, f"stream of {SECOND}", "thread_local")]


@pytest.mark.gpu
def test_images_of_two_gpus_in_one_process():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    run, network = runner.NetworkRunner(fused=False), nn.Conv2d(1, 1, 3)
    for device in (FIRST, SECOND):
        on_device = nn.Conv2d(1, 1, 3).to(device).eval()
        on_device.load_state_dict(network.state_dict())
        with torch.inference_mode():
            for value in (1.0, 2.0, 3.0):
                images = torch.full((1, 1, 16, 16), value)
                colours = run(on_device, images.to(device)).cpu()
                torch.testing.assert_close(colours, network(images), rtol=1e-3, atol=1e-3)
    assert run.captured == 2
