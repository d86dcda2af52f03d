"""PyTorch peers of the CPU bench. Reads "case N" lines, answers each "go" with the milliseconds of one run.

Run with MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=268435456: without them glibc
returns large blocks to the system after every operation and PyTorch loses a factor of two.
"""

import sys
import time

import torch

from torch_models import LENGTH, VOCAB, Model

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
ROWS = 768


def gemm(n):
    a, b = torch.randn(n, n), torch.randn(n, n)
    return lambda: a @ b


def conv(length):
    u, k, g = (torch.randn(ROWS, length) for _ in range(3))
    return lambda: torch.fft.irfft(torch.fft.rfft(u, 2 * length) * torch.fft.rfft(k, 2 * length), 2 * length)[:, :length] * g


def step(kind, batch):
    model = Model(kind, fused=False)
    faster = {"foreach": True} if "foreach" in torch.optim.AdamW.__init__.__code__.co_varnames else {}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, **faster)
    ids = torch.randint(0, VOCAB, (batch, LENGTH))

    def run():
        loss = model.loss(ids)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return run


run = None
for line in sys.stdin:
    words = line.split()
    if words[0] == "go":
        began = time.perf_counter()
        run()
        print((time.perf_counter() - began) * 1e3, flush=True)
        continue
    name, size = words[0], int(words[1])
    run = {"gemm": gemm, "conv": conv}[name](size) if name in ("gemm", "conv") else step(name, size or 128)
    run()
    print("ready", flush=True)
