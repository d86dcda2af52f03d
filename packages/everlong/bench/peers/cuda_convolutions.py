"""Long convolutions of PyTorch and FlashFFTConv for cuda_peer.py: KIND torch or flash, MODE circular or causal, GATES plain or gated, DTYPE f16 or f32."""

import torch


def operands(gates, length, batch, channels, dtype):
    u = torch.randn(batch, channels, length, device="cuda", dtype={"f16": torch.float16, "f32": torch.float32}[dtype])
    g = [torch.randn_like(u) for _ in range(2)] if gates == "gated" else []
    return u, torch.randn(channels, length, device="cuda") / length**0.5, g


def convolution(kind, mode, length):
    points = length if mode == "circular" else 2 * length
    if kind == "flash":
        from flashfftconv import FlashFFTConv

        return FlashFFTConv(points, dtype=torch.float16).cuda()

    def run(u, k, *g):
        x = u.float() * g[0].float() if g else u.float()
        y = torch.fft.irfft(torch.fft.rfft(x, n=points) * torch.fft.rfft(k, n=points), n=points)[..., :length]
        return (y * g[1].float() if g else y).to(u.dtype)

    return run


def forward(kind, mode, gates, length, batch, channels, dtype):
    u, k, g = operands(gates, int(length), int(batch), int(channels), dtype)
    run = convolution(kind, mode, int(length))

    return lambda: run(u, k, *g)


def gradients(kind, mode, gates, length, batch, channels, dtype):
    """Without the forward pass."""
    u, k, g = operands(gates, int(length), int(batch), int(channels), dtype)
    wrt = [x.requires_grad_() for x in (u, k, *g)]
    with torch.enable_grad():
        y = convolution(kind, mode, int(length))(u, k, *g)
    dy = torch.randn_like(y)
    return lambda: torch.autograd.grad(y, wrt, dy, retain_graph=True)
