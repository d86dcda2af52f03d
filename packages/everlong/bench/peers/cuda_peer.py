"""PyTorch peers of the CUDA bench. Reads lines and answers each with one:

make ID CALLS WORK ...   prepares work; "ready" and how many calls a run times (at most CALLS, fewer of slow work), or why it cannot
go ID                    milliseconds of a run, timed by events on the GPU
drop ID                  forgets the work and gives its memory back

WORK is one of
  attention BACKEND PASS LAYOUT BATCH HEADS KEYHEADS QUERIES KEYS SIZE
      BACKEND cudnn, flash or plain (all scores in memory); PASS forward or backward; LAYOUT time (memory as [B, T, H, D]) or heads ([B, H, T, D])
  depthwise BATCH CHANNELS LENGTH
  copy BATCH CHANNELS LENGTH
  step KIND PRECISION MODE BATCH
      a training step of the model of torch_models.py with AdamW; KIND attention or hyena; PRECISION f32, tf32 or bf16 (autocast); MODE eager or compiled
  layer BACKEND BATCH LENGTH WIDTH HEADS DTYPE
      causal attention with the projections to queries, keys and values and the one to the output
  fftconv KIND MODE GATES LENGTH BATCH CHANNELS DTYPE, fftconv-gradients ... (without the forward pass)
      see cuda_convolutions.py
  norm DTYPE ROWS WIDTH, cross-entropy DTYPE ROWS CLASSES
      with gradients
  embedding-gradient DTYPE TOKENS ROWS WIDTH
  adamw LAYERS WIDTH VOCABULARY POSITIONS
      the fused update of a transformer's parameters

It needs the Python packages
  torch 2.5 or newer, built for CUDA, with the triton that comes with it (for torch.compile, which also needs a C compiler); the project's figures: 2.11
  flashfftconv with its extension monarch_cuda, from the repository HazyResearch/flash-fft-conv (commit b877102), and einops, which it imports:
      for the figures of FlashFFTConv only
Without one of them the figures that need it are missing.
"""

import functools
import gc
import math
import sys

import cuda_convolutions
import torch
import torch.nn.functional as F
from torch_models import LENGTH, VOCAB, Model
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION, "plain": SDPBackend.MATH}
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


@functools.cache
def side():
    """The stream that is recorded. Backward passes run on the stream of their forward pass, which has to be this one."""
    return torch.cuda.Stream()


def recorded(run):
    """The work as a CUDA graph, so that launching costs it no more than ours."""
    torch.cuda.synchronize()
    with torch.cuda.stream(side()):
        for _ in range(2):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side()):
        run()
    # What is recorded reads the memory of `run`.
    return lambda kept=run: graph.replay()


def heads_first(layout, batch, heads, length, size, **kind):
    if layout == "heads":
        return torch.randn(batch, heads, length, size, device="cuda", **kind)
    return torch.randn(batch, length, heads, size, device="cuda", **kind).transpose(1, 2)


def plain(q, k, v):
    if q.shape[0] * q.shape[1] > 1 and q.shape[:3].numel() * k.shape[2] > 2**32:
        return torch.stack([plain(*(t[None, None] for t in head)) for head in zip(*(t.flatten(0, 1) for t in (q, k, v)))]).view_as(q)
    scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    hidden = torch.ones(scores.shape[-2:], device="cuda", dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, -math.inf).softmax(-1) @ v


def attend(backend, q, k, v):
    # One query sees all keys.
    causal = q.shape[-2] > 1
    if backend == "plain" and causal:
        return plain(q, k, v)
    with sdpa_kernel([BACKENDS[backend]]):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])


def attention(backend, direction, layout, *sizes):
    batch, heads, key_heads, queries, keys, size = (int(n) for n in sizes)
    q = heads_first(layout, batch, heads, queries, size, dtype=torch.bfloat16)
    k, v = (heads_first(layout, batch, key_heads, keys, size, dtype=torch.bfloat16) for _ in range(2))
    # Scores in memory take so long, and so much, that launching them does not count.
    as_timed = recorded if backend != "plain" else lambda run: run
    if direction == "forward":
        return as_timed(lambda: attend(backend, q, k, v))
    for t in (q, k, v):
        t.requires_grad_()
    g = heads_first(layout, batch, heads, queries, size, dtype=torch.bfloat16)
    torch.cuda.synchronize()
    with torch.enable_grad(), torch.cuda.stream(side()):
        y = attend(backend, q, k, v)
    return as_timed(lambda: torch.autograd.grad(y, (q, k, v), g, retain_graph=True))


def depthwise(batch, channels, length):
    x = torch.randn(int(batch), int(channels), int(length), device="cuda", dtype=torch.float16)
    conv = torch.nn.Conv1d(int(channels), int(channels), 5, padding=2, groups=int(channels)).cuda().half()
    return recorded(lambda: conv(x))


def copy(batch, channels, length):
    x = torch.randn(int(batch), int(channels), int(length), device="cuda", dtype=torch.float16)
    y = torch.empty_like(x)
    return recorded(lambda: y.copy_(x))


def layer(backend, batch, length, width, heads, dtype):
    batch, length, width, heads = (int(n) for n in (batch, length, width, heads))
    kind = {"device": "cuda", "dtype": DTYPES[dtype]}
    x = torch.randn(batch, length, width, **kind)
    inside, outside = torch.nn.Linear(width, 3 * width, **kind), torch.nn.Linear(width, width, **kind)

    def run():
        q, k, v = inside(x).view(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        return outside(attend(backend, q, k, v).transpose(1, 2).reshape(batch, length, width))

    return recorded(run)


def step(kind, precision, mode, batch):
    model = Model(kind, fused=True).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    ids = torch.randint(0, VOCAB, (int(batch), LENGTH), device="cuda")
    loss_of = torch.compile(model.loss) if mode == "compiled" else model.loss

    def run():
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        with torch.enable_grad(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = loss_of(ids)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return run


def norm(dtype, rows, width):
    kind = {"device": "cuda", "dtype": DTYPES[dtype]}
    x, dy = (torch.randn(int(rows), int(width), **kind) for _ in range(2))
    wrt = [t.requires_grad_() for t in (x, torch.ones(int(width), **kind), torch.zeros(int(width), **kind))]

    def run():
        with torch.enable_grad():
            y = F.layer_norm(x, (int(width),), *wrt[1:])
        return y, torch.autograd.grad(y, wrt, dy)

    return recorded(run)


def cross_entropy(dtype, rows, classes):
    x = torch.randn(int(rows), int(classes), device="cuda", dtype=DTYPES[dtype], requires_grad=True)
    targets = torch.randint(0, int(classes), (int(rows),), device="cuda")

    def run():
        with torch.enable_grad():
            loss = F.cross_entropy(x, targets)
        return torch.autograd.grad(loss, x)

    return recorded(run)


def embedding_gradient(dtype, tokens, rows, width):
    dy = torch.randn(int(tokens), int(width), device="cuda", dtype=DTYPES[dtype])
    # As ours: some rows often, most never.
    at = torch.arange(int(tokens), device="cuda", dtype=torch.float64) * 0.61803398875 % 1
    ids = (int(rows) ** at.sqrt()).long() - 1
    return lambda: torch.ops.aten.embedding_dense_backward(dy, ids, int(rows), -1, False)


def adamw(layers, width, vocabulary, positions):
    d = int(width)
    block = [(d,), (d,), (d, 3 * d), (3 * d,), (d, d), (d,), (d,), (d,), (d, 4 * d), (4 * d,), (4 * d, d), (d,)]
    shapes = [(int(vocabulary), d), (int(positions), d), *block * int(layers), (d,), (d,)]
    parameters = [torch.nn.Parameter(0.02 * torch.randn(s, device="cuda")) for s in shapes]
    for p in parameters:
        p.grad = torch.randn_like(p)
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.1, fused=True, capturable=True)
    return recorded(optimizer.step)


WORKS = {
    "attention": attention,
    "depthwise": depthwise,
    "copy": copy,
    "layer": layer,
    "step": step,
    "norm": norm,
    "cross-entropy": cross_entropy,
    "embedding-gradient": embedding_gradient,
    "adamw": adamw,
    "fftconv": cuda_convolutions.forward,
    "fftconv-gradients": cuda_convolutions.gradients,
}
made = {}


# Milliseconds that a run of slow work takes.
ENOUGH = 100


def milliseconds(run, calls):
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(calls):
        run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end)


def let_go():
    gc.collect()
    torch.cuda.empty_cache()


def make(calls, work, *sizes):
    run = WORKS[work](*sizes)
    # The first call of a compiled step takes a minute, the first of others their library's choice of a kernel.
    slow = milliseconds(run, 1) > ENOUGH and milliseconds(run, 1) > ENOUGH
    warm = milliseconds(run, 1 if slow else 2) / (1 if slow else 2)
    return run, max(1, min(int(calls), math.ceil(ENOUGH / warm)))


def answer(line):
    verb, name, *words = line.split()
    if verb == "drop":
        made.pop(name)
        let_go()
        return "dropped"
    if verb == "make":
        made[name] = make(*words)
        return f"ready {made[name][1]}"
    return milliseconds(*made[name])


with torch.no_grad():
    for line in sys.stdin:
        failed = False
        try:
            reply = answer(line)
        except Exception as error:
            failed, reply = True, str(error).split("\n")[0][:200] or type(error).__name__
        # Not before: an error holds on to where it came from.
        if failed:
            let_go()
        print(reply, flush=True)
