"""PyTorch peers of the CUDA bench. Reads "WORK SIZE" lines, answers each "go" with the milliseconds of RUNS runs, timed by events on
the GPU: what ours does between two waits.

WORK of attention is BACKEND-PASS-BATCHxHEADSxLENGTH with BACKEND cudnn or flash and PASS forward or backward; SIZE is the head's.
"""

import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}


def attention(backend, direction, shape, size):
    batch, heads, length = (int(n) for n in shape.split("x"))
    backward = direction == "backward"
    q, k, v = (
        torch.randn(batch, heads, length, size, device="cuda", dtype=torch.bfloat16, requires_grad=backward) for _ in range(3)
    )
    with sdpa_kernel([BACKENDS[backend]]):
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    g = torch.randn_like(y)

    def forward():
        with sdpa_kernel([BACKENDS[backend]]):
            F.scaled_dot_product_attention(q, k, v, is_causal=True)

    return (lambda: torch.autograd.grad(y, (q, k, v), g, retain_graph=True)) if backward else forward


def depthwise(batch, length, width):
    x = torch.randn(batch, width, length, device="cuda", dtype=torch.float16)
    conv = torch.nn.Conv1d(width, width, 5, padding=2, groups=width).cuda().half()

    def run():
        with torch.no_grad():
            conv(x)

    return run


def copy(batch, length, width):
    x = torch.randn(batch, width, length, device="cuda", dtype=torch.float16)
    y = torch.empty_like(x)
    return lambda: y.copy_(x)


RUNS = 60
run = None
for line in sys.stdin:
    words = line.split()
    if words[0] == "go":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(RUNS):
            run()
        end.record()
        torch.cuda.synchronize()
        print(begin.elapsed_time(end), flush=True)
        continue
    try:
        kind, *rest = words[0].split("-")
        if kind in BACKENDS:
            run = attention(kind, *rest, int(words[1]))
        else:
            batch, length = (int(n) for n in rest[0].split("x"))
            run = {"depthwise": depthwise, "copy": copy}[kind](batch, length, int(words[1]))
        for _ in range(3):
            run()
        torch.cuda.synchronize()
        print("ready", flush=True)
    except Exception as error:
        print(str(error).split("\n")[0][:200] or "it failed", flush=True)
