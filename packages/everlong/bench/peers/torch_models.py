"""The models of the training-step benches, in PyTorch: blocks x + layer(norm(x)) of a mixer and SwiGLU, twice."""

import math

import torch
import torch.nn.functional as F

LENGTH, DIM, VOCAB = 128, 128, 16


class Attention(torch.nn.Module):
    """Causal attention with rotary positions; `fused` by PyTorch's own kernel, else with all scores in memory."""

    def __init__(self, dim, heads, length, fused):
        super().__init__()
        self.heads, self.fused = heads, fused
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
        if self.fused:
            q, k, v = (t.transpose(1, 2) for t in (q, k, v))
            y = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=True).transpose(1, 2)
            return self.out(y.reshape(batch, length, dim))
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
        dtype, v = v.dtype, v.float()
        y = torch.fft.irfft(torch.fft.rfft(v, 2 * length) * torch.fft.rfft(k, 2 * length), 2 * length)[..., :length]
        return self.out(((y + v * self.bias[:, None]).to(dtype) * x0).transpose(1, 2))


class SwiGLU(torch.nn.Module):
    def __init__(self, dim):
        super().__init__()
        inner = 16 * math.ceil(dim * 8 / 3 / 16)
        self.a, self.b = torch.nn.Linear(dim, inner, bias=False), torch.nn.Linear(dim, inner, bias=False)
        self.c = torch.nn.Linear(inner, dim, bias=False)

    def forward(self, x):
        return self.c(F.silu(self.a(x)) * self.b(x))


class Model(torch.nn.Module):
    def __init__(self, kind, fused):
        super().__init__()
        mixer = (lambda: Attention(DIM, 16, LENGTH, fused)) if kind == "attention" else (lambda: Hyena(DIM, LENGTH))
        self.blocks = torch.nn.ModuleList([make() for make in (mixer, lambda: SwiGLU(DIM)) * 2])
        self.norms = torch.nn.ModuleList([torch.nn.LayerNorm(DIM) for _ in range(5)])
        self.embed, self.head = torch.nn.Embedding(VOCAB, DIM), torch.nn.Linear(DIM, VOCAB)

    def loss(self, ids):
        x = self.embed(ids)
        for norm, block in zip(self.norms, self.blocks):
            x = x + block(norm(x))
        return F.cross_entropy(self.head(self.norms[4](x)).view(-1, VOCAB).float(), ids.view(-1))
