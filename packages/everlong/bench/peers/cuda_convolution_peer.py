"""Peers of the GPU bench. Reads a line "torch|flash fftconv MODE GATES LENGTH BATCH CHANNELS CALLS 0", answers "ready" or why it cannot, and
each "go" with the milliseconds of CALLS runs."""

import sys

import torch


def fftconv(kind, mode, gates, length, batch, channels):
    length, batch, channels = int(length), int(batch), int(channels)
    points = length if mode == "circular" else 2 * length
    u = torch.randn(batch, channels, length, device="cuda", dtype=torch.float16)
    g = [torch.randn_like(u) for _ in range(2)] if gates == "gated" else []
    k = torch.randn(channels, length, device="cuda") / length**0.5
    if kind == "flash":
        from flashfftconv import FlashFFTConv

        conv = FlashFFTConv(points, dtype=torch.float16).cuda()
        return lambda: conv(u, k, *g)

    def run():
        x = u.float() * g[0].float() if g else u.float()
        y = torch.fft.irfft(torch.fft.rfft(x, n=points) * torch.fft.rfft(k, n=points), n=points)[..., :length]
        return (y * g[1].float() if g else y).half()

    return run


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
            run = {"fftconv": fftconv}[work](kind, *sizes[:-2])
            with torch.no_grad():
                run()
            torch.cuda.synchronize()
            print("ready", flush=True)
        except Exception as e:
            print(f"{type(e).__name__}: {e}".splitlines()[0], flush=True)


with torch.no_grad():
    main()
