"""Peers of the GPU bench. Reads a line "torch|flash fftconv|fftconv-gradients MODE GATES LENGTH BATCH CHANNELS CALLS 0", answers "ready" or why it
cannot, and each "go" with the milliseconds of CALLS runs."""

import sys

import torch


def operands(gates, length, batch, channels):
    u = torch.randn(batch, channels, length, device="cuda", dtype=torch.float16)
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
        return (y * g[1].float() if g else y).half()

    return run


def fftconv(kind, mode, gates, length, batch, channels):
    u, k, g = operands(gates, int(length), int(batch), int(channels))
    run = convolution(kind, mode, int(length))

    def once():
        with torch.no_grad():
            run(u, k, *g)

    return once


def gradients(kind, mode, gates, length, batch, channels):
    """Without the forward pass."""
    u, k, g = operands(gates, int(length), int(batch), int(channels))
    wrt = [x.requires_grad_() for x in (u, k, *g)]
    y = convolution(kind, mode, int(length))(u, k, *g)
    dy = torch.randn_like(y)
    return lambda: torch.autograd.grad(y, wrt, dy, retain_graph=True)


def main():
    run, calls = None, 1
    for line in sys.stdin:
        line = line.strip()
        if line == "go":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(calls):
                run()
            end.record()
            torch.cuda.synchronize()
            print(begin.elapsed_time(end), flush=True)
            continue
        kind, work, *sizes = line.split()
        try:
            calls = int(sizes[-2])
            run = {"fftconv": fftconv, "fftconv-gradients": gradients}[work](kind, *sizes[:-2])
            run()
            torch.cuda.synchronize()
            print("ready", flush=True)
        except Exception as e:
            print(f"{type(e).__name__}: {e}".splitlines()[0], flush=True)


main()
