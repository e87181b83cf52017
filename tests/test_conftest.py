"""The root conftest hides GPUs from tests and from the processes that they start."""

import os
import subprocess
import sys

import pytest
import torch

from tomostain.devices import choose_device


def test_the_automatic_device_is_the_cpu():
    assert choose_device("auto") == torch.device("cpu")


def test_a_started_process_sees_no_gpu():
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    code = "import torch; print(torch.cuda.device_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


@pytest.mark.gpu
def test_a_test_marked_gpu_sees_one():
    assert choose_device("auto").type == "cuda"
