"""PyTorch forms of the sequence operators for `bench operators`. Reads "case N" lines, answers each "go" with milliseconds."""

import math
import sys
import time

import torch

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)


def with_gradients(make, inputs):
    """A run that also computes the gradients of sum(out * fixed)."""
    for t in inputs:
        t.requires_grad_(True)
    probe = torch.randn_like(make(*inputs).detach())

    def run():
        return torch.autograd.grad((make(*inputs) * probe).sum(), inputs)

    return run


def block_mask(length, side):
    """One unit back, its own, and every eighth: the pattern of the case; causal."""
    n = length // side
    own, other = torch.arange(n)[:, None], torch.arange(n)[None]
    listed = ((own - other >= 0) & (own - other <= 1)) | ((other + 1) % 8 == 0)
    mask = listed.repeat_interleave(side, 0).repeat_interleave(side, 1)
    return mask & torch.ones(length, length, dtype=torch.bool).tril()


def attention(length, gradients, side=64, heads=4, size=64):
    mask = torch.zeros(length, length).masked_fill(~block_mask(length, side), float("-inf"))
    inputs = [torch.randn(1, heads, length, size) for _ in range(3)]

    def make(q, k, v):
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(size) + mask
        return torch.matmul(scores.softmax(-1), v)

    return with_gradients(make, inputs) if gradients else lambda: make(*inputs)


def conv(u, k, length):
    n = 2 * length
    return torch.fft.irfft(torch.fft.rfft(u, n) * torch.fft.rfft(k, n), n)[..., :length]


def rows(length):
    return torch.randn(4, 192, length), torch.randn(192, length)


def partial(length, share, gradients):
    inputs = rows(length)

    def make(u, k):
        return conv(u, k[:, : math.ceil(length / share)], length)

    return with_gradients(make, inputs) if gradients else lambda: make(*inputs)


def low(length, share, gradients):
    inputs = rows(length)
    n, kept = 2 * length, math.ceil(length / share)
    mask = (torch.arange(length + 1) < kept).float()

    def make(u, k):
        return torch.fft.irfft(torch.fft.rfft(u, n) * (torch.fft.rfft(k, n) * mask), n)[..., :length]

    return with_gradients(make, inputs) if gradients else lambda: make(*inputs)


def padded_attention(length, gradients, batch=8, heads=4, size=64):
    lengths = torch.tensor([math.ceil(length * (b + 1) / 9) for b in range(batch)])
    own, other = torch.arange(length)[:, None], torch.arange(length)[None]
    seen = (other <= own)[None] & (other[None] < lengths[:, None, None])
    mask = torch.zeros(batch, 1, length, length).masked_fill(~seen[:, None], float("-inf"))
    inputs = [torch.randn(batch, heads, length, size) for _ in range(3)]

    def make(q, k, v):
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(size) + mask
        return torch.matmul(scores.softmax(-1), v)

    return with_gradients(make, inputs) if gradients else lambda: make(*inputs)


def chunked(length, gradients, chunk=2048, batch=2, channels=96):
    """Chunk after chunk; what a chunk adds to later positions is carried on."""
    inputs = [torch.randn(batch, length, channels), torch.randn(chunk, channels)]

    def make(u, k):
        n = 2 * chunk
        spectrum = torch.fft.rfft(k, n, dim=0)
        carry, parts = torch.zeros(batch, chunk, channels), []
        for part in u.split(chunk, 1):
            whole = torch.fft.irfft(torch.fft.rfft(part, n, dim=1) * spectrum, n, dim=1)
            parts.append(whole[:, :chunk] + carry)
            carry = whole[:, chunk:]
        return torch.cat(parts, 1)

    return with_gradients(make, inputs) if gradients else lambda: make(*inputs)


def resolvent(nodes, systems=192, poles=32):
    v = torch.randn(systems, poles, dtype=torch.complex64)
    a = torch.complex(-torch.rand(systems, poles) - 0.1, torch.randn(systems, poles))
    angle = -2 * math.pi * torch.arange(nodes // 2 + 1) / nodes
    w = torch.complex(angle.cos(), angle.sin())
    return lambda: (v[..., None] / ((1 - w) - (1 + w) * a[..., None] / 2)).sum(1)


def stages(length):
    bits = max(1, math.ceil(math.log2(2 * length)))
    return [16] * (bits // 4) + ([2 ** (bits % 4)] if bits % 4 else [])


def butterfly(length, gradients):
    """The block FFT as matrix products over complex tensors."""
    radices = stages(length)
    matrices = [torch.fft.fft(torch.eye(m, dtype=torch.complex64)) for m in radices]
    size = math.prod(radices)
    twiddles, n = [], size
    for m in radices:
        n //= m
        angle = -2 * math.pi * torch.arange(m)[:, None] * torch.arange(n)[None] / (m * n)
        twiddles.append(torch.complex(angle.cos(), angle.sin()))

    def transform(x, ws):
        x = torch.nn.functional.pad(x, (0, size - x.shape[-1])).to(torch.complex64)
        blocks, n = 1, size
        for m, w, t in zip(radices, ws, twiddles):
            n //= m
            x = torch.matmul(w, x.reshape(*x.shape[:-1], blocks, m, n)) * t
            blocks *= m
            x = x.flatten(-3)
        return x

    def back(x, ws):
        blocks, n = size, 1
        for m, w, t in reversed(list(zip(radices, ws, twiddles))):
            blocks //= m
            x = torch.matmul(w.conj().transpose(0, 1), x.reshape(*x.shape[:2], blocks, m, n) * t.conj())
            n *= m
            x = x.flatten(-3)
        return x.real / size

    u, k = rows(length)

    def make(u, k, *ws):
        return back(transform(u, ws) * transform(k, ws), ws)[..., :length]

    if gradients:
        return with_gradients(make, [u, k, *matrices])
    return lambda: make(u, k, *matrices)


CASES = {
    "attention": lambda n: attention(n, False),
    "attention-gradients": lambda n: attention(n, True),
    "padded-attention": lambda n: padded_attention(n, False),
    "padded-attention-gradients": lambda n: padded_attention(n, True),
    "chunked": lambda n: chunked(n, False),
    "chunked-gradients": lambda n: chunked(n, True),
    "resolvent": resolvent,
    "butterfly": lambda n: butterfly(n, False),
    "butterfly-gradients": lambda n: butterfly(n, True),
}
for share in (2, 4, 8, 16, 64):
    for name, work in (("partial", partial), ("low", low)):
        for suffix in ("", "-gradients"):
            CASES[f"{name}-{share}{suffix}"] = lambda n, work=work, share=share, suffix=suffix: work(
                n, share, suffix != ""
            )
run = None
for line in sys.stdin:
    words = line.split()
    if words[0] == "go":
        began = time.perf_counter()
        run()
        print((time.perf_counter() - began) * 1e3, flush=True)
        continue
    run = CASES[words[0]](int(words[1]))
    run()
    print("ready", flush=True)
