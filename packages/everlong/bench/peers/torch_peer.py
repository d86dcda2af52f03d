"""PyTorch peers of the CPU bench. Reads "case N" lines, answers each "go" with the milliseconds of one run.

Run with MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=268435456: without them glibc
returns large blocks to the system after every operation and PyTorch loses a factor of two.
"""

import math
import sys
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
ROWS = 768


def gemm(n):
    a, b = torch.randn(n, n), torch.randn(n, n)
    return lambda: a @ b


def conv(length):
    u, k, g = (torch.randn(ROWS, length) for _ in range(3))
    return lambda: torch.fft.irfft(torch.fft.rfft(u, 2 * length) * torch.fft.rfft(k, 2 * length), 2 * length)[:, :length] * g


class Attention(torch.nn.Module):
    """Causal attention with rotary positions, materialised: this PyTorch has no fused one on the CPU."""

    def __init__(self, dim, heads, length):
        super().__init__()
        self.heads = heads
        self.qkv = torch.nn.Linear(dim, 3 * dim)
        self.out = torch.nn.Linear(dim, dim)
        half = dim // heads // 2
        angle = torch.arange(length)[:, None] / 10_000 ** (torch.arange(half) / half)
        self.register_buffer("cos", angle.cos()[:, None])
        self.register_buffer("sin", angle.sin()[:, None])
        self.register_buffer("mask", torch.full((length, length), float("-inf")).triu(1))

    def rotate(self, x):
        a, b = x.chunk(2, -1)
        return torch.cat([a * self.cos - b * self.sin, a * self.sin + b * self.cos], -1)

    def forward(self, x):
        batch, length, dim = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).unbind(2)
        q, k = self.rotate(q), self.rotate(k)
        scores = torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(dim // self.heads) + self.mask
        y = torch.einsum("bhts,bshd->bthd", scores.softmax(-1), v)
        return self.out(y.reshape(batch, length, dim))


class Hyena(torch.nn.Module):
    """Order 2, implicit filter of width 32: gates, one long convolution."""

    def __init__(self, dim, length):
        super().__init__()
        self.inner = torch.nn.Linear(dim, 3 * dim)
        self.short = torch.nn.Conv1d(3 * dim, 3 * dim, 3, padding=2, groups=3 * dim)
        self.out = torch.nn.Linear(dim, dim)
        self.bias = torch.nn.Parameter(torch.randn(dim))
        t = torch.linspace(0, 1, length)[:, None]
        bands = torch.linspace(1e-4, 7, 8)
        w = 2 * math.pi * torch.arange(length)[:, None] / length * bands
        self.z = torch.nn.Parameter(torch.cat([t, w.cos(), -w.sin()], 1))
        self.freq = torch.nn.Parameter(torch.full((32,), 10.0))
        self.layers = torch.nn.ModuleList([torch.nn.Linear(17, 32), torch.nn.Linear(32, 32), torch.nn.Linear(32, 32)])
        self.last = torch.nn.Linear(32, dim, bias=False)
        decay = torch.linspace(math.log(1e-2) / 1.5, math.log(1e-2) / 0.3, dim).abs()
        self.register_buffer("window", torch.exp(-t * decay))

    def forward(self, x):
        length = x.shape[1]
        u = self.short(self.inner(x).transpose(1, 2))[..., :length]
        x0, x1, v = u.chunk(3, 1)
        h = self.z
        for layer in self.layers:
            h = torch.sin(self.freq * layer(h))
        k = (self.last(h) * self.window).T
        v = v * x1
        y = torch.fft.irfft(torch.fft.rfft(v, 2 * length) * torch.fft.rfft(k, 2 * length), 2 * length)[..., :length]
        return self.out(((y + v * self.bias[:, None]) * x0).transpose(1, 2))


class SwiGLU(torch.nn.Module):
    def __init__(self, dim):
        super().__init__()
        inner = 16 * math.ceil(dim * 8 / 3 / 16)
        self.a, self.b = torch.nn.Linear(dim, inner, bias=False), torch.nn.Linear(dim, inner, bias=False)
        self.c = torch.nn.Linear(inner, dim, bias=False)

    def forward(self, x):
        return self.c(F.silu(self.a(x)) * self.b(x))


def step(kind, batch):
    length, dim, vocab = 128, 128, 16
    mixer = (lambda: Attention(dim, 16, length)) if kind == "attention" else (lambda: Hyena(dim, length))
    blocks = torch.nn.ModuleList([make() for make in (mixer, lambda: SwiGLU(dim)) * 2])
    norms = torch.nn.ModuleList([torch.nn.LayerNorm(dim) for _ in range(5)])
    embed, head = torch.nn.Embedding(vocab, dim), torch.nn.Linear(dim, vocab)
    parts = torch.nn.ModuleList([blocks, norms, embed, head])
    optimizer = torch.optim.AdamW(parts.parameters(), lr=1e-3, weight_decay=0.1, foreach=True) if "foreach" in torch.optim.AdamW.__init__.__code__.co_varnames else torch.optim.AdamW(parts.parameters(), lr=1e-3, weight_decay=0.1)
    ids = torch.randint(0, vocab, (batch, length))

    def run():
        x = embed(ids)
        for norm, block in zip(norms, blocks):
            x = x + block(norm(x))
        loss = F.cross_entropy(head(norms[4](x)).view(-1, vocab), ids.view(-1))
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
