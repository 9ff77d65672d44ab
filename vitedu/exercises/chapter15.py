"""The exercises of chapter 15, scaling up."""

import bisect
import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Case, exercise, formulas, on

# 15.1 ----------------------------------------------------------------------------------------------------------------


def training_state(parameters: int, processes: int, sharded: bool) -> int:
    """Bytes of weights, gradients and AdamW's two moments in each process, in float32."""
    return 16 * (math.ceil(parameters / processes) if sharded else parameters)


def _state_cases() -> list[Case]:
    runs = [(1000, 1, False), (1000, 4, False), (1000, 4, True), (1001, 4, True), (86_567_656, 8, True), (7, 8, True)]
    return on(*runs, (1001, 3, True))  # the last: not a whole number of bytes for each process


@formulas(1, 1, True)
def _states(p, n, sharded):
    share = math.ceil(p / n)
    held, other = (share, p) if sharded else (p, share)
    return {
        "4 bytes for each parameter: the weights alone, or four numbers that are not yet in bytes; a gradient and two "
        "moments stand beside each weight, and a float32 has 4 bytes": 4 * held,
        "one number in four is missing: the weight, its gradient, and AdamW's two running means": 12 * held,
        "without sharding nothing is divided: every process holds the whole model": 16 * share,
        "this is the sum over all processes; one of them is asked for": 16 * p * (1 if sharded else n),
        "two of the four are divided here, the moments, say; all are sharded": 8 * p + 8 * held,
        "one of the four is divided here, the weights, say; all are sharded": 12 * p + 4 * held,
        "`//` drops what is left over; somebody has to hold it, so round up": 16 * (p // n if sharded else p),
        "`round` may go down, and somebody has to hold what is left over; round up": 16
        * (round(p / n) if sharded else p),
        "this is what all processes hold together; one of them is asked for": 16 * held * n,
        "`/` gives a float, and a part of a parameter; round their number up": 16 * (p / n if sharded else p),
        "8 bytes for each parameter: two of the four numbers are missing, or a float32, which has 4, is counted as 2": (
            8 * held
        ),
        "a float32 has 4 bytes; this counts 8": 32 * held,
        "`sharded` is not used: with it each process holds a share": 16 * p,
        "the two cases are swapped: with `sharded` each process holds a share, without it everything": 16 * other,
        "one of the four is whole in each process here, the weights, say; all are sharded": 4 * p + 12 * held,
        "the bytes are rounded up; a parameter cannot be cut, so round up the number of parameters first": math.ceil(
            16 * p / (n if sharded else 1)
        ),
        "the numbers are rounded up, four for each parameter; round up the parameters first": (
            4 * math.ceil(4 * p / (n if sharded else 1))
        ),
        "one more is held even where the division leaves nothing over; `math.ceil` or `-(-a // b)` rounds up": (
            16 * (p // n + 1 if sharded else p)
        ),
    }


exercise("15.1", training_state, _state_cases, _states, difference=compare.integers)


# 15.2 ----------------------------------------------------------------------------------------------------------------


def clipped_gradient(weight: Tensor, x: Tensor, labels: Tensor, size: int, most: float) -> Tensor:
    """(K, D), (B, D), (B,) -> (K, D): of the mean cross-entropy, in parts of `size`, no longer than `most`."""
    return _clipped(sum(_parts(weight, x, labels, size, "sum")) / len(x), most)


def _clipped(gradient: Tensor, most: float) -> Tensor:
    return gradient * min(1.0, most / gradient.norm().item())


def _gradient(weight: Tensor, x: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    leaf = weight.detach().clone().requires_grad_()
    F.cross_entropy(x @ leaf.T, labels, reduction=reduction).backward()
    return leaf.grad


def _parts(weight: Tensor, x: Tensor, labels: Tensor, size: int, reduction: str = "mean") -> list[Tensor]:
    pairs = zip(x.split(size), labels.split(size), strict=True)
    return [_gradient(weight, some, wanted, reduction) for some, wanted in pairs]


def _accumulate_cases() -> list[Case]:
    generator, cases = torch.Generator().manual_seed(0), []
    for B, D, K, size, most in [(6, 4, 3, 2, 0.1), (7, 3, 5, 3, 100.0), (1, 4, 3, 1, 0.1), (9, 5, 2, 4, 0.2)]:
        weight, x = torch.randn(K, D, generator=generator), torch.randn(B, D, generator=generator)
        cases.append(Case((weight, x, torch.randint(K, (B,), generator=generator), size, most)))
    weight, x, labels, size, _ = cases[1].args
    return [*cases, Case((weight, x, labels, size, 0.1)), Case((weight.double(), x.double(), labels, size, 100.0))]


@formulas(*_accumulate_cases()[0].args)
def _gradients(weight, x, labels, size, most):
    means, sums = (_parts(weight, x, labels, size, reduction) for reduction in ("mean", "sum"))
    B, full = len(x), len(x) // size * size
    shares, whole = [part / B for part in sums], sum(sums) / B
    rest_left_out = _gradient(weight, x[:full], labels[:full], "sum")

    def both(found: dict[str, Tensor]) -> dict[str, Tensor]:
        """Each of these gradients, clipped as it should be, and not at all."""
        clipped = {hint: _clipped(gradient, most) for hint, gradient in found.items()}
        return clipped | {f"{hint}; and nothing is clipped": gradient for hint, gradient in found.items()}

    return {
        "this is the colleague's answer: a leaf of its own for each part, so that only the last is left; the factor "
        "`size / B`, wrong for a smaller last part; and each part clipped by itself": (
            _clipped(means[-1] * size / B, most)
        ),
        "nothing is clipped: a gradient longer than `most` is scaled down to that length": whole,
        "each part is clipped by itself; what counts is the length of their sum": sum(
            _clipped(part, most) for part in shares
        ),
        "the sum so far is clipped after each part; clip once, after the last": functools.reduce(
            lambda so_far, part: _clipped(so_far + part, most), shares[1:], _clipped(shares[0], most)
        ),
        "a short gradient is stretched to `most`; clipping only shortens": whole * most / whole.norm(),
        "each number is clipped; it is the length of the whole gradient that has a limit": whole.clamp(-most, most),
        "each row is clipped by itself; it is the length of the whole gradient that has a limit": (
            whole * (most / whole.norm(dim=1, keepdim=True)).clamp(max=1)
        ),
        **both(
            {
                "only the last part is left: one leaf for all of them, and `backward` adds up": shares[-1],
                "each part's mean is multiplied by `size / B`, but the last part may have fewer items than `size`": (
                    sum(means) * size / B
                ),
                "this is the mean of the parts' means: a smaller last part counts as much as the others": (
                    sum(means) / len(means)
                ),
                "the means of the parts are added and never divided: the gradient is too long": sum(means),
                "this is the gradient of the sum of the losses; divide by the number of items": sum(sums),
                "the last part is left out because it is smaller; its items count too": rest_left_out / B,
                "each part's mean is divided by B, but that is divided already; multiply by its items": sum(means) / B,
                "the axes are swapped: a gradient has the shape of what it belongs to, here (K, D)": whole.T,
            }
        ),
    }


exercise("15.2", clipped_gradient, _accumulate_cases, _gradients)


# 15.3 ----------------------------------------------------------------------------------------------------------------


def seconds_waited(reads: list[float], workers: int, step: float) -> float:
    """How long a model waits for batches that workers read in turn, each `reads[i]` seconds, and it takes in order."""
    return _queue(reads, workers, step)[0]


def _queue(reads: list[float], workers: int, step: float, turn=lambda i, ready: i % len(ready)) -> tuple[float, float]:
    """The seconds waited, and when the last step is done; `turn` says which worker reads batch i."""
    ready, free, waited = [0.0] * workers, 0.0, 0.0
    for i, seconds in enumerate(reads):
        worker = turn(i, ready)
        ready[worker] += seconds
        waited += max(0.0, ready[worker] - free)
        free = max(free, ready[worker]) + step
    return waited, free


READS = [
    ([0.2, 0.2, 0.2, 0.2, 0.2], 1, 0.1),
    ([0.2, 0.2, 0.2, 0.2, 0.2, 0.2], 2, 0.15),
    ([0.3, 0.1, 0.1, 0.9, 0.1, 0.1, 0.2], 2, 0.25),
    ([0.5], 3, 1.0),
    ([0.1, 0.1, 1.5, 0.1, 0.1, 0.1, 0.1, 0.1], 3, 0.2),
    ([0.4, 0.1, 0.1, 0.1, 0.1, 0.1], 2, 0.05),
    ([0.05, 0.02, 0.01, 0.03], 4, 1.0),
]


@formulas(*READS[0])
def _waits(reads, workers, step):
    right, end = _queue(reads, workers, step)
    share = [seconds / workers for seconds in reads]
    everywhere = _queue(share, 1, step)[0]

    def late(first: float) -> float:
        """Each batch is asked for when the step before it begins, or ends."""
        return first + sum(max(0.0, seconds - step) for seconds in reads[1:])

    return {
        "nothing is read ahead: each batch is waited for in full; workers go on while the model computes": sum(reads),
        "the workers share each batch here; a batch is read by one of them": everywhere,
        "the first batch is waited for in full, since nothing has been read before it": right - reads[0],
        "a worker starts its next batch as soon as it is done, not when the step before begins": late(reads[0]),
        "each batch is compared with one step; a worker may be several batches ahead": late(max(0.0, reads[0] - step)),
        "only one worker reads here": _queue(reads, 1, step)[0],
        "each batch has a worker of its own here; there are `workers` of them": _queue(reads, len(reads), step)[0],
        "the next batch goes to whichever worker is free first; here they take turns": (
            _queue(reads, workers, step, lambda i, ready: ready.index(min(ready)))[0]
        ),
        "worker w reads the batches w, w + workers, …; here each reads a block of neighbours": (
            _queue(reads, workers, step, lambda i, ready: i * len(ready) // len(reads))[0]
        ),
        "this is when the last step is done; return how long the model waited": end,
        "this is when the last step begins; return how long the model waited": end - step,
        "this is the share of the time; return seconds": right / end,
        "the means are compared here; one slow batch holds up those behind it": max(
            0.0, sum(share) - step * len(reads)
        ),
        "the means are compared here, and the first batch added; one slow batch holds up those behind it": (
            reads[0] + max(0.0, sum(share) - step * len(reads))
        ),
        "the model does not compute here: after a batch it is busy for `step` seconds": _queue(reads, workers, 0.0)[0],
        "the wait of one batch is not added to the clock: the next step begins later, too": sum(
            max(0.0, sum(reads[i % workers : i + 1 : workers]) - i * step) for i in range(len(reads))
        ),
    }


exercise("15.3", seconds_waited, lambda: on(*READS), _waits, difference=compare.floats)


# 15.4 ----------------------------------------------------------------------------------------------------------------


def ring_round(chunks: Tensor, s: int) -> Tensor:
    """(n, n, m) -> (n, n, m): in round s process r adds chunk (r - 1 - s) mod n of process r - 1 to its own."""
    return _ring()(chunks, s)


def _ring_cases() -> list[Case]:
    generator, cases = torch.Generator().manual_seed(0), []
    for n, m, s in [(3, 2, 0), (3, 2, 1), (4, 1, 0), (4, 3, 2), (2, 5, 0)]:
        cases.append(Case((torch.randn(n, n, m, generator=generator), s)))
    return [*cases, Case((torch.randn(5, 5, 2, generator=generator, dtype=torch.float64), 3))]


def _ring(chunk=lambda r, s, n: (r - 1 - s) % n, step: int = -1, target: int = 0, keep: float = 1.0, first: int = 0):
    """The round with one choice changed: which chunk travels, from whom, where to, and whether it is added."""

    def answer(chunks: Tensor, s: int) -> Tensor:
        n, after = len(chunks), chunks.clone()
        for r in range(first, n):
            c, source = chunk(r, s, n), (r + step) % n
            after[(r + target) % n, c] = chunks[source, c] + keep * chunks[r, c]
        return after

    return answer


def _moved(chunks: Tensor, s: int) -> Tensor:
    """The round, after which the sender has lost what it sent."""
    n, after = len(chunks), ring_round(chunks, s)
    for r in range(n):
        after[r, (r - s) % n] = 0
    return after


mistakes = {
    "what arrives replaces what was there; add it": _ring(keep=0),
    "the chunks travel the wrong way round: process r receives from r - 1": _ring(step=1),
    "the sum is written to the sender; process r, which receives, adds it to its own": _ring(target=-1),
    "in every round another chunk travels: s is not used": _ring(lambda r, s, n: (r - 1) % n),
    "process r receives what r - 1 sends, and r - 1 sends chunk (r - 1 - s) mod n; here it is (r - s) mod n": _ring(
        lambda r, s, n: (r - s) % n
    ),
    "the number of the chunk falls from round to round: (r - 1 - s) mod n, not (r - 1 + s) mod n": _ring(
        lambda r, s, n: (r - 1 + s) % n
    ),
    "process r receives chunk r in every round; it is (r - 1 - s) mod n": _ring(lambda r, s, n: r),
    "whole vectors travel; in one round each process sends a single chunk, a part 1/n of its vector": (
        lambda chunks, s: chunks + chunks.roll(1, dims=0)
    ),
    "every process receives the same chunk, number s; each has one of its own": _ring(lambda r, s, n: s % n),
    "the number of the chunk is one too low: (r - 1 - s) mod n is what process r receives, not what it sends": _ring(
        lambda r, s, n: (r - 2 - s) % n
    ),
    "process 0 receives too, from the last one: that makes it a ring": _ring(first=1),
    "all rounds up to s are done; the chunks given are those before round s, so do this one alone": (
        lambda chunks, s: functools.reduce(ring_round, range(s + 1), chunks)
    ),
    "the sender loses what it sends; it sends a copy and keeps its own": _moved,
    "process and chunk are swapped: the first axis of `chunks` is the process": (
        lambda chunks, s: ring_round(chunks.transpose(0, 1), s).transpose(0, 1)
    ),
    "these are the new sums alone; return all chunks, (n, n, m)": lambda chunks, s: torch.stack(
        [ring_round(chunks, s)[r, (r - 1 - s) % len(chunks)] for r in range(len(chunks))]
    ),
    "nothing has been received: the chunks are those from before the round": lambda chunks, s: chunks.clone(),
    "this is the end of the whole journey, the sum over all processes; one round is asked for": (
        lambda chunks, s: chunks.sum(dim=0, keepdim=True).expand_as(chunks).clone()
    ),
}
exercise("15.4", ring_round, _ring_cases, mistakes)


# 15.5 ----------------------------------------------------------------------------------------------------------------


def fewest_gpus(alone: float, size: float, rate: float, limit: float) -> int:
    """The smallest n for which alone / n + 2·(n - 1)/n·size / rate is at most `limit`; ValueError if there is none."""
    return _solved()(alone, size, rate, limit)


def _gpu_cases() -> list[Case]:
    in_time = [
        (1.0, 1e8, 50e9, 0.1),
        (0.5, 4e8, 50e9, 0.05),
        (2.0, 4e8, 450e9, 0.03),
        (0.8, 1e9, 50e9, 0.9),
        (0.35, 2.5e8, 25e9, 0.0613),
        (0.01, 4e8, 50e9, 0.02),
        (0.01, 4e8, 50e9, 0.012),  # in time alone, though the network would take longer than the limit
        (0.01, 4e8, 50e9, 0.01),
        (0.5, 4e8, 50e9, 0.5),
        (1.0, 0.125, 1.0, 0.5),  # the quotient is 3, and nothing is left over
        (1.0, 1e8, 50e9, 0.00451),  # nearly 2,000 GPUs, and then nearly 200,000
        (1.0, 1e8, 50e9, 0.0040051),
    ]
    return on(*in_time) + on((1.0, 4e8, 50e9, 0.01), (3.0, 1e9, 25e9, 0.08), raises=ValueError)


def _solved(first=lambda alone, limit: alone <= limit, enough=lambda limit, ring: limit > ring, whole=math.ceil):
    """The formula with one step changed: the look at one GPU, that at the network, and the rounding."""

    def answer(alone: float, size: float, rate: float, limit: float) -> int:
        ring = 2 * size / rate  # what the network takes with very many GPUs
        if first(alone, limit):
            return 1
        if not enough(limit, ring):
            raise ValueError("the network alone takes longer")
        return whole((alone - ring) / (limit - ring))

    return answer


def _found(time, most: int = 10**7):
    """The first n whose step takes `time(n, alone, size / rate)` or less."""

    def answer(alone: float, size: float, rate: float, limit: float) -> int:
        def in_time(n: int) -> bool:
            return time(n, alone, size / rate) <= limit

        few = next(filter(in_time, range(1, 1000)), None)
        n = few or bisect.bisect_left(range(most), True, lo=1000, key=in_time)  # with so many the time only falls
        if n >= most:
            raise ValueError("no number of GPUs is enough")
        return n

    return answer


mistakes = {
    "the network's time is not added to alone / n; nothing of it is hidden behind the arithmetic here": (
        lambda alone, size, rate, limit: math.ceil(alone / limit)
    ),
    "in a ring everything travels twice, once to be added up and once to be handed out: 2·(n - 1)/n": _found(
        lambda n, alone, travel: alone / n + (n - 1) / n * travel
    ),
    "the network takes 2·(n - 1)/n times size / rate, not once, however many GPUs there are": _found(
        lambda n, alone, travel: alone / n + travel
    ),
    "a step that takes the limit exactly is in time: at most, not less than": _found(
        lambda n, alone, travel: math.nextafter(alone / n + 2 * (n - 1) / n * travel, math.inf)
    ),
    "each GPU sends chunks of 1/n, so the network takes 2·(n - 1)/n times size / rate, not 2·(n - 1) times": _found(
        lambda n, alone, travel: alone / n + 2 * (n - 1) * travel
    ),
    "the network's work is not divided among the GPUs: only `alone` is": _found(
        lambda n, alone, travel: (alone + 2 * (n - 1) / n * travel) / n
    ),
    "the network takes 2·(n - 1)/n times size / rate, which grows with n; here it is 2/n times": _found(
        lambda n, alone, travel: alone / n + 2 / n * travel
    ),
    "a single GPU sends nothing: with n = 1 the network takes no time": _found(lambda n, a, t: a / n + 2 * t),
    "only so many GPUs are tried, and more are needed: solve the inequality for n": _found(
        lambda n, alone, travel: alone / n + 2 * (n - 1) / n * travel, most=1000
    ),
    "only so many GPUs are tried, and a limit close to what the network takes needs more: solve the inequality for n": (
        _found(lambda n, alone, travel: alone / n + 2 * (n - 1) / n * travel, most=10**5)
    ),
    "rounded down, the step takes longer than the limit; round up": _solved(whole=math.floor),
    "one GPU too many where the division leaves nothing over: `math.ceil` rounds up": _solved(
        whole=lambda n: int(n) + 1
    ),
    "`round` goes to the nearest whole number, which may be one GPU too few; round up": _solved(whole=round),
    "a part of a GPU takes part in nothing: round up to a whole number": _solved(whole=float),
    "one GPU alone is in time here, and the formula gives less than 1: look at n = 1 first": _solved(lambda *_: False),
    "one GPU alone is in time here: look at n = 1 before you ask whether the network takes too long": _solved(
        lambda *_: False, whole=lambda n: max(1, math.ceil(n))
    ),
    "one GPU alone takes the limit exactly, which is in time: `alone <= limit`": _solved(lambda *t: t[0] < t[1]),
    "no number of GPUs is enough here; the formula gives a number all the same, or divides by zero": _solved(
        enough=lambda limit, ring: True
    ),
    "where the network alone takes the limit exactly, no number of GPUs is enough": _solved(enough=lambda t, w: t >= w),
    "a step takes w + (alone - w) / n, with w for 2 * size / rate: subtract w from `alone`, too": (
        lambda alone, size, rate, limit: (
            1 if alone <= limit else fewest_gpus(alone + 2 * size / rate, size, rate, limit)
        )
    ),
    "only powers of two are tried; any whole number will do": lambda *a: 2 ** math.ceil(math.log2(fewest_gpus(*a))),
}
exercise("15.5", fewest_gpus, _gpu_cases, mistakes, difference=compare.integers)
