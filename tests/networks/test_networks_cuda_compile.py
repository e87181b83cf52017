"""The Triton programs compile for a GPU, on a machine without one. Triton's interpreter, which runs them on a CPU in
`test_networks_cuda_layers`, accepts more than its compiler.
"""

import inspect
import os

import pytest

triton = pytest.importorskip("triton", reason="needs triton, which comes with torch for CUDA")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter replaces the compiler", allow_module_level=True)

import triton.language as tl  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from tomostain.networks.kernels.cuda import channel_programs, forward_programs, gradient_programs, narrow_programs  # noqa: E402

# Triton 3.2, which comes with torch 2.6, names the argument otherwise.
CONSTANTS = "constexprs" if "constexprs" in inspect.signature(ASTSource).parameters else "constants"
HOPPER = GPUTarget("cuda", 90, 32)
BLOCK = {"BLOCK_P": 32, "BLOCK_C": 64}
NORM = {"NORM": True, "PADDED": True, "PLAIN": False, "SLOPE": 0.0, "UP": 1}
JOIN = {"PADDED": True, "PLAIN": True, "RESIDUAL": True, "SLOPE": 1.0, "UP": 2, "STEPS": 4}
CHANNEL = {"SLOPE": 0.0, "EPS": 1e-5}
PROGRAMS = {
    "pad": (forward_programs.write_padded, {"NORM": False, "RESIDUAL": False, "PLAIN": False, "SLOPE": 1.0, "UP": 1}),
    "join": (forward_programs.write_padded, {"NORM": True, "RESIDUAL": True, "PLAIN": True, "SLOPE": 1.0, "UP": 1}),
    "moments": (forward_programs.moments, {"STEPS": 4}),
    "combine moments": (forward_programs.combine_moments, {"EPS": 1e-5, "PIECES": 256}),
    "sums": (gradient_programs.gradient_sums, JOIN),
    "combine sums": (gradient_programs.combine_sums, {"PIECES": 256}),
    "gradient": (gradient_programs.gradient_of_source, NORM),
    "gradient of pad": (gradient_programs.gradient_of_source, NORM | {"NORM": False, "SLOPE": 1.0}),
    "channel norm": (channel_programs.normalise, CHANNEL),
    "gradient of channel norm": (channel_programs.gradients, CHANNEL | {"STEPS": 4}),
    "gather": (narrow_programs.gather, {"R": 7, "S": 1, "STRIDE": 1, "REFLECT": True}),
    "gather stride 2": (narrow_programs.gather, {"R": 4, "S": 4, "STRIDE": 2, "REFLECT": False}),
    "gradient of gather": (narrow_programs.gather_gradient, {"R": 7, "S": 1, "STRIDE": 1, "COPIES": 3}),
    "sum of rows": (narrow_programs.sum_rows, {"R": 7, "BIAS": True}),
    "spread rows": (narrow_programs.spread_rows, {"R": 7}),
}
# Values have the precision of the network, sums at least float32.
VALUES = {"source", "residual", "padded", "plain", "result", "grad"}
SUMS = {
    "mean", "scale", "means", "squares", "sums", "products", "mean_sum", "mean_product", "gain", "bias", "to_gain",
    "to_bias",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "bf16") for name in PROGRAMS), ("join", "fp16"), ("sums", "fp32")]
)
def test_a_program_compiles_for_a_hopper_gpu(name, dtype, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    program, constants = PROGRAMS[name]
    known = {"WIDE": tl.float32} | BLOCK | constants
    types = {}
    for argument in program.arg_names:
        if argument in known:
            types[argument] = "constexpr"
        elif argument in VALUES | SUMS:
            types[argument] = f"*{dtype if argument in VALUES else 'fp32'}"
        else:
            types[argument] = "i32"
    known = {argument: value for argument, value in known.items() if argument in types}
    source = ASTSource(fn=program, signature=types, **{CONSTANTS: known})
    compiled = triton.compile(source, target=HOPPER)
    assert len(compiled.asm["cubin"]) > 1000
