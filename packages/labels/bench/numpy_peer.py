"""The same steps in numpy and scikit-learn: reads "case arguments" and "go" lines, answers with milliseconds."""
import sys
import time

import numpy as np
from sklearn.metrics import pairwise


def world(n, d, m, seed=3):
    """Votes of m functions on n clustered points."""
    rng = np.random.default_rng(seed)
    topics = rng.standard_normal((50, d)).astype(np.float32)
    topic = rng.integers(0, 50, n)
    points = topics[topic] + 0.8 * rng.standard_normal((n, d)).astype(np.float32)
    votes = np.zeros((n, m), dtype=np.int8)
    for j in range(m):
        on = rng.random(n) < 0.05 + 0.2 * j / m
        right = np.where((topic * 7 + j) % 3 == 0, 1, -1)
        votes[on, j] = right[on]
    return points, votes


def nearest(votes, points):
    similarity = pairwise.cosine_similarity(points, points)
    np.fill_diagonal(similarity, -1)
    out = []
    for j in range(votes.shape[1]):
        silent = np.flatnonzero(votes[:, j] == 0)
        best = []
        for sign in (1, -1):
            support = np.flatnonzero(votes[:, j] == sign)
            best.append(similarity[silent][:, support].max(axis=1) if len(support) else np.full(len(silent), -1.0))
        out.append((silent, best[0], best[1]))
    return out


def extend(votes, near, radius):
    out = votes.copy()
    for j, (silent, positive, negative) in enumerate(near):
        out[silent[(positive > negative) & (positive > radius)], j] = 1
        out[silent[(negative > positive) & (negative > radius)], j] = -1
    return out


def relabel(votes):
    """FlyingSquid's closed form (median of triplets), vectorised."""
    n, m = votes.shape
    x = votes.astype(np.float64)
    moments = x.T @ x / n
    a = np.zeros(m)
    for i in range(m):
        rest = [k for k in range(m) if k != i]
        values = [
            np.sqrt(abs(moments[i, j] * moments[i, k] / moments[j, k])) if moments[j, k] else 0.0
            for p, j in enumerate(rest)
            for k in rest[:p]
        ]
        a[i] = np.median(values)
    p0 = (votes == 0).mean(axis=0)
    p1 = (votes == 1).mean(axis=0)
    log = np.zeros((n, 2))
    for i in range(m):
        agree = 0.5 * (1 + a[i] - p0[i])
        both = (p1[i] + 0.5 * (1 - p0[i]) - (1 - p0[i] - agree)) / 2
        table = np.array(
            [[1 - p0[i] - p1[i] - (0.5 * (1 - p0[i]) - both), 0.5 * (1 - p0[i]) - both], [p0[i] / 2] * 2, [p1[i] - both, both]]
        )
        table = np.abs(table) / np.abs(table).sum()
        log += np.log(np.maximum(table, 1e-12) / 0.5)[votes[:, i] + 1]
    log -= log.max(axis=1, keepdims=True)
    p = np.exp(log)
    return p / p.sum(axis=1, keepdims=True)


def main():
    work = None
    for line in sys.stdin:
        words = line.split()
        if words[0] == "go":
            start = time.perf_counter()
            work()
            print((time.perf_counter() - start) * 1e3, flush=True)
            continue
        n, d, m = map(int, words[1:4])
        points, votes = world(n, d, m)
        if words[0] == "prepare":
            work = lambda: nearest(votes, points)
        elif words[0] == "relabel":
            near = nearest(votes[:2000], points[:2000]) if n <= 2000 else None
            silent = [
                (np.flatnonzero(votes[:, j] == 0),) + tuple(np.random.default_rng(j).random((2, int((votes[:, j] == 0).sum()))))
                for j in range(m)
            ]
            near = near or silent
            work = lambda: relabel(extend(votes, near, 0.8))
        elif words[0] == "all":
            work = lambda: relabel(extend(votes, nearest(votes, points), 0.5))
        else:
            print("unknown case", flush=True)
            continue
        print("ready", flush=True)


main()
