"""PyTorch forms of StripedHyena 2's and Monarch Mixer's layers and of S4ND for `bench operators`. Reads "case N" lines, answers each "go"."""

import math
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)

BATCH, DIM, GROUPS = 4, 192, 48


def fft_conv(u, k, n):
    return torch.fft.irfft(torch.fft.rfft(u, n) * torch.fft.rfft(k, n), n)[..., : u.shape[-1]]


class Striped(nn.Module):
    """Projection, short convolution, gate, filter of groups, gate, projection; time last inside."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first = nn.Linear(DIM, 3 * DIM, bias=False)
        self.short = nn.Conv1d(3 * DIM, 3 * DIM, 3, padding=2, groups=3 * DIM, bias=False)
        self.last = nn.Linear(DIM, DIM)
        self.skip = nn.Parameter(torch.randn(DIM))
        width = {"short": 7, "medium": 128, "long": 16}[kind]
        self.h = nn.Parameter(torch.randn(GROUPS, width))
        if kind == "medium":
            rates = torch.logspace(0, 2, GROUPS)[:, None]
            self.register_buffer("decay", torch.exp(-rates * torch.linspace(0, 1, width)))
        if kind == "long":
            self.p = nn.Parameter(-torch.ones(GROUPS, width))
            self.gamma = nn.Parameter(torch.log(torch.rand(GROUPS, width) * 0.09 + 0.01))

    def taps(self, length):
        if self.kind == "medium":
            return self.h * self.decay
        steps = torch.arange(length, dtype=torch.float32)
        poles = -torch.exp(self.p) * torch.exp(self.gamma)
        return torch.einsum("gn,gnt->gt", self.h, torch.exp(poles[..., None] * steps))

    def forward(self, x):
        length = x.shape[1]
        x1, x2, v = self.short(self.first(x).transpose(1, 2))[..., :length].chunk(3, 1)
        u = x2 * v
        if self.kind == "short":
            weight = self.h.repeat_interleave(DIM // GROUPS, 0)[:, None].flip(-1)
            y = F.conv1d(u, weight, padding=6, groups=DIM)[..., :length]
        else:
            k = self.taps(length).repeat_interleave(DIM // GROUPS, 0)
            y = fft_conv(u, k, 2 * length) + u * self.skip[:, None]
        return self.last((x1 * y).transpose(1, 2))


class Filter(nn.Module):
    """Hyena's sine network and window, for both sides."""

    def __init__(self, length):
        super().__init__()
        t = torch.linspace(0, 1, length)[:, None]
        angle = torch.linspace(1e-4, 1, 2)[None] * 2 * math.pi * torch.arange(length)[:, None] / length
        self.register_buffer("z", torch.cat([t, torch.cos(angle), -torch.sin(angle)], -1))
        deltas = torch.linspace(math.log(0.01) / 1.5, math.log(0.01) / 0.3, DIM)[None]
        self.register_buffer("window", torch.exp(-t * deltas.abs()))
        self.freq = nn.Parameter(10 * torch.ones(1, 128))
        self.bias = nn.Parameter(torch.randn(DIM))
        make = lambda: nn.ModuleList(
            [nn.Linear(5, 128), nn.Linear(128, 128), nn.Linear(128, 128), nn.Linear(128, DIM, bias=False)]
        )
        self.ahead, self.behind = make(), make()

    def taps(self, layers):
        h = self.z
        for layer in layers[:-1]:
            h = torch.sin(self.freq * layer(h))
        return (layers[-1](h) * self.window).t()

    def forward(self, u):
        length = u.shape[-1]
        ahead, behind = self.taps(self.ahead)[:, :length], self.taps(self.behind)[:, :length]
        k = F.pad(ahead, (0, length)) + F.pad(behind.flip(-1), (length, 0))
        return fft_conv(u, k, 2 * length) + u * self.bias[:, None]


class Monarch(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(DIM, 3 * DIM)
        self.short = nn.Conv1d(3 * DIM, 3 * DIM, 3, padding=2, groups=3 * DIM)
        self.last = nn.Linear(DIM, DIM)
        self.one, self.two = Filter(2048), Filter(2048)

    def forward(self, x):
        x1, x2, v = self.short(self.first(x).transpose(1, 2))[..., : x.shape[1]].chunk(3, 1)
        y = self.one(v * x1) * x2 + self.two(x.transpose(1, 2))
        return self.last(y.transpose(1, 2))


class S4nd(nn.Module):
    """Diagonal state spaces along both axes of images of 32 rows of pixels, both directions, the second one from lag -1."""

    def __init__(self, modes=32):
        super().__init__()
        self.c = nn.Parameter(torch.randn(2, 2, DIM, modes, 2))
        self.dt = nn.Parameter(torch.rand(2, DIM) * 4.6 - 6.9)
        self.a_real = nn.Parameter(torch.full((2, DIM, modes), math.log(0.5)))
        self.a_imag = nn.Parameter(math.pi * torch.arange(modes).float().repeat(2, DIM, 1))
        self.skip = nn.Parameter(torch.randn(DIM))

    def spectrum(self, axis, length):
        a = torch.complex(-self.a_real[axis].exp(), self.a_imag[axis])
        z = a * self.dt[axis].exp()[:, None]
        c = torch.view_as_complex(self.c[axis]) * (torch.exp(z) - 1) / a
        powers = torch.exp(z[..., None] * torch.arange(length))
        ahead, behind = 2 * torch.einsum("sdn,dnl->sdl", c, powers).real
        k = F.pad(ahead, (0, length)) + F.pad(behind.flip(-1), (length, 0))
        return torch.fft.fft(k)

    def forward(self, x):
        height = 32
        u = x.transpose(1, 2).reshape(x.shape[0], DIM, height, -1)
        width = u.shape[-1]
        rows, columns = self.spectrum(0, height), self.spectrum(1, width)[..., : width + 1]
        sizes = (2 * height, 2 * width)
        y = torch.fft.irfft2(torch.fft.rfft2(u, sizes) * rows[..., None] * columns[:, None], sizes)
        y = y[..., :height, :width] + u * self.skip[:, None, None]
        return y.flatten(2).transpose(1, 2)


def layer_run(layer, length, gradients):
    x = torch.randn(BATCH, length, DIM, requires_grad=gradients)
    if not gradients:

        def forward():
            with torch.no_grad():
                return layer(x)

        return forward
    probe = torch.randn(BATCH, length, DIM)
    wrt = [x, *layer.parameters()]
    return lambda: torch.autograd.grad((layer(x) * probe).sum(), wrt, allow_unused=True)


def block_diagonal(rows):
    x, w = torch.randn(BATCH * rows, 4, DIM // 4), torch.randn(4, DIM // 4, DIM)
    bias = torch.randn(4 * DIM)
    return lambda: torch.bmm(x.transpose(0, 1), w).transpose(0, 1).reshape(-1, 4 * DIM) + bias


def make(name, size):
    if name == "block-diagonal":
        return block_diagonal(size)
    gradients = name.endswith("-gradients")
    kind = name[: -len("-gradients")] if gradients else name
    layer = {"monarch-mixer": Monarch, "s4nd": S4nd}.get(kind, lambda: Striped(kind.split("-")[1]))()
    return layer_run(layer, size, gradients)


for line in sys.stdin:
    words = line.split()
    if words[0] == "go":
        began = time.perf_counter()
        run()
        print((time.perf_counter() - began) * 1e3, flush=True)
        continue
    run = make(words[0], int(words[1]))
    run()
    print("ready", flush=True)
