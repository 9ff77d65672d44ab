"""The exercises of chapter 15, scaling up."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vitedu.exercises import compare
from vitedu.exercises.exercise import Case, Exercise, Mistake

# 15.1 ----------------------------------------------------------------------------------------------------------------


def training_state(parameters: int, processes: int, sharded: bool) -> int:
    """Bytes of weights, gradients and AdamW's two moments in each process, in float32."""
    held = math.ceil(parameters / processes) if sharded else parameters
    return 16 * held


def _state_cases() -> list[Case]:
    runs = [(1000, 1, False), (1000, 4, False), (1000, 4, True), (1001, 4, True), (86_567_656, 8, True), (7, 8, True)]
    runs.append((1001, 3, True))  # not a whole number of bytes for each process
    return [Case(run) for run in runs]


def _held(parameters: int, processes: int, sharded: bool) -> int:
    return math.ceil(parameters / processes) if sharded else parameters


TRAINING_STATE = Exercise(
    id="15.1",
    title="What every process holds",
    reference=training_state,
    cases=_state_cases,
    mistakes=(
        Mistake(
            "these are the weights alone; a gradient and two moments stand beside each of them",
            lambda parameters, processes, sharded: 4 * _held(parameters, processes, sharded),
        ),
        Mistake(
            "one number in four is missing: the weight, its gradient, and AdamW's two running means",
            lambda parameters, processes, sharded: 12 * _held(parameters, processes, sharded),
        ),
        Mistake(
            "without sharding nothing is divided: every process holds the whole model",
            lambda parameters, processes, sharded: 16 * math.ceil(parameters / processes),
        ),
        Mistake(
            "this is the sum over all processes; one of them is asked for",
            lambda parameters, processes, sharded: 16 * parameters * (1 if sharded else processes),
        ),
        Mistake(
            "only the moments are divided here; weights and gradients are sharded too",
            lambda parameters, processes, sharded: 8 * parameters + 8 * _held(parameters, processes, sharded),
        ),
        Mistake(
            "`//` drops what is left over; somebody has to hold it, so round up",
            lambda parameters, processes, sharded: 16 * (parameters // processes if sharded else parameters),
        ),
        Mistake(
            "a float32 has 4 bytes; this counts 2",
            lambda parameters, processes, sharded: 8 * _held(parameters, processes, sharded),
        ),
        Mistake(
            "a float32 has 4 bytes; this counts 8",
            lambda parameters, processes, sharded: 32 * _held(parameters, processes, sharded),
        ),
        Mistake(
            "`sharded` is not used: with it each process holds a share",
            lambda parameters, processes, sharded: 16 * parameters,
        ),
        Mistake(
            "the two cases are swapped: with `sharded` each process holds a share, without it everything",
            lambda parameters, processes, sharded: 16 * _held(parameters, processes, not sharded),
        ),
        Mistake(
            "the weights are whole in each process here; they are sharded too",
            lambda parameters, processes, sharded: 4 * parameters + 12 * _held(parameters, processes, sharded),
        ),
        Mistake(
            "the bytes are rounded up; a parameter cannot be cut, so round up the number of parameters first",
            lambda parameters, processes, sharded: math.ceil(16 * parameters / (processes if sharded else 1)),
        ),
        Mistake(
            "one more is held even where the division leaves nothing over; `math.ceil` or `-(-a // b)` rounds up",
            lambda parameters, processes, sharded: 16 * (parameters // processes + 1 if sharded else parameters),
        ),
    ),
    difference=compare.integers,
)


# 15.2 ----------------------------------------------------------------------------------------------------------------


def accumulated_gradient(weight: Tensor, x: Tensor, labels: Tensor, size: int) -> Tensor:
    """(K, D), (B, D), (B,) -> (K, D): gradient of the mean cross-entropy, with at most `size` items at once."""
    total = torch.zeros_like(weight)
    for some, wanted in zip(x.split(size), labels.split(size), strict=True):
        total += _gradient(weight, some, wanted, "sum")
    return total / len(x)


def _gradient(weight: Tensor, x: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    leaf = weight.detach().clone().requires_grad_()
    F.cross_entropy(x @ leaf.T, labels, reduction=reduction).backward()
    return leaf.grad


def _parts(weight: Tensor, x: Tensor, labels: Tensor, size: int, reduction: str = "mean") -> list[Tensor]:
    pairs = zip(x.split(size), labels.split(size), strict=True)
    return [_gradient(weight, some, wanted, reduction) for some, wanted in pairs]


def _full_parts(x: Tensor, labels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    full = len(x) // size * size
    return x[:full], labels[:full]


def _accumulate_cases() -> list[Case]:
    generator, cases = torch.Generator().manual_seed(0), []
    for B, D, K, size in [(6, 4, 3, 2), (7, 3, 5, 3), (1, 4, 3, 1), (9, 5, 2, 4)]:
        weight, x = torch.randn(K, D, generator=generator), torch.randn(B, D, generator=generator)
        cases.append(Case((weight, x, torch.randint(K, (B,), generator=generator), size)))
    weight, x, labels, size = cases[1].args
    return [*cases, Case((weight.double(), x.double(), labels, size))]


ACCUMULATED = Exercise(
    id="15.2",
    title="A large batch in small parts",
    reference=accumulated_gradient,
    cases=_accumulate_cases,
    mistakes=(
        Mistake(
            "the means of the parts are added and never divided: with four parts the gradient is four times as long",
            lambda *args: sum(_parts(*args)),
        ),
        Mistake(
            "this is the mean of the parts' means: a smaller last part counts as much as the others",
            lambda *args: sum(_parts(*args)) / len(_parts(*args)),
        ),
        Mistake(
            "only the last part is left; add the gradients up, and set them to zero before the first part alone",
            lambda *args: _parts(*args)[-1],
        ),
        Mistake(
            "only the first part is used; go on to the others",
            lambda *args: _parts(*args)[0],
        ),
        Mistake(
            "the sums over the parts are divided by `size`; divide by the number of items in the batch",
            lambda weight, x, labels, size: sum(_parts(weight, x, labels, size, "sum")) / size,
        ),
        Mistake(
            "this is the gradient of the sum of the losses; divide by the number of items",
            lambda *args: sum(_parts(*args, reduction="sum")),
        ),
        Mistake(
            "the last part is dropped because it is smaller; its items count too",
            lambda weight, x, labels, size: _gradient(weight, *_full_parts(x, labels, size)),
        ),
        Mistake(
            "only the last part is left: set the gradient to zero before the first part alone",
            lambda weight, x, labels, size: _parts(weight, x, labels, size, "sum")[-1] / len(x),
        ),
        Mistake(
            "the last part is left out because it is smaller; its items count too",
            lambda weight, x, labels, size: _gradient(weight, *_full_parts(x, labels, size), reduction="sum") / len(x),
        ),
        Mistake(
            "each part's mean is divided by B, but a mean is divided already; sum, or multiply by the part's items",
            lambda weight, x, labels, size: sum(_parts(weight, x, labels, size)) / len(x),
        ),
        Mistake(
            "the sums over the parts are divided by the number of parts; divide by the number of items in the batch",
            lambda *args: sum(_parts(*args, reduction="sum")) / len(_parts(*args)),
        ),
        Mistake(
            "the axes are swapped: a gradient has the shape of what it belongs to, here (K, D) as `weight`",
            lambda *args: accumulated_gradient(*args).T,
        ),
        Mistake(
            "each part's mean is multiplied by `size / B`, but the last part may have fewer items than `size`",
            lambda weight, x, labels, size: sum(_parts(weight, x, labels, size)) * size / len(x),
        ),
    ),
)


# 15.3 ----------------------------------------------------------------------------------------------------------------


def model_utilisation(
    images_per_second: float, parameters: int, tokens: int, dim: int, depth: int, peak: float
) -> float:
    """Share of the peak: 6 FLOPs per parameter and token, and 12·L·N·D per token for the attention."""
    flops = tokens * (6 * parameters + 12 * depth * tokens * dim)
    return images_per_second * flops / peak


def _utilisation_cases() -> list[Case]:
    runs = [
        (2500.0, 22_050_664, 197, 384, 12, 312e12),
        (1000.0, 86_567_656, 197, 768, 12, 312e12),
        (40.0, 201_930, 65, 64, 4, 1e11),
        (7.5, 304_326_632, 577, 1024, 24, 989e12),
    ]
    return [Case(run) for run in runs]


def _utilised(linear: float = 6, pairs: float = 12, scale=lambda tokens: 1.0):
    """The answer with other factors."""

    def answer(images_per_second, parameters, tokens, dim, depth, peak):
        flops = tokens * (linear * parameters + pairs * depth * tokens * dim)
        return scale(tokens) * images_per_second * flops / peak

    return answer


UTILISATION = Exercise(
    id="15.3",
    title="Utilisation from images per second",
    reference=model_utilisation,
    cases=_utilisation_cases,
    mistakes=(
        Mistake(
            "this is the forward pass alone; the way back costs twice as much again: 6 and 12, not 2 and 4",
            _utilised(2, 4),
        ),
        Mistake("this is the way back alone; the forward pass counts too: 6 and 12, not 4 and 8", _utilised(4, 8)),
        Mistake("the attention between the tokens is left out: 12·L·N·D for each token", _utilised(pairs=0)),
        Mistake(
            "multiply-adds are counted, and the peak counts FLOPs: each is two",
            _utilised(3, 6),
        ),
        Mistake(
            "a second forward pass is counted; what is recomputed is no use of the machine by the model",
            _utilised(8, 16),
        ),
        Mistake(
            "this is for one token of each image; an image has N of them",
            _utilised(scale=lambda tokens: 1 / tokens),
        ),
        Mistake(
            "the attention of an image grows with N²: here it is counted once for the image, not once for each token",
            lambda images_per_second, parameters, tokens, dim, depth, peak: (
                images_per_second * (6 * parameters * tokens + 12 * depth * tokens * dim) / peak
            ),
        ),
        Mistake(
            "the attention of one block is counted; there are L of them",
            lambda images_per_second, parameters, tokens, dim, depth, peak: (
                images_per_second * tokens * (6 * parameters + 12 * tokens * dim) / peak
            ),
        ),
        Mistake(
            "the parameters are counted once for an image; each of its N tokens passes through them",
            lambda images_per_second, parameters, tokens, dim, depth, peak: (
                images_per_second * (6 * parameters + 12 * depth * tokens**2 * dim) / peak
            ),
        ),
        Mistake(
            "12·L·N·D is for one token already; with N² in it and N tokens the attention grows with N³",
            lambda images_per_second, parameters, tokens, dim, depth, peak: (
                images_per_second * tokens * (6 * parameters + 12 * depth * tokens**2 * dim) / peak
            ),
        ),
        Mistake(
            "these are FLOPs a second; divide them by those of the peak",
            lambda *args: model_utilisation(*args) * args[-1],
        ),
        Mistake(
            "this is for one image a second; multiply by the images a second",
            lambda *args: model_utilisation(*args) / args[0],
        ),
        Mistake(
            "this is per cent; give the share",
            _utilised(scale=lambda tokens: 100.0),
        ),
        Mistake(
            "the fraction is upside down: what the model needs stands over what the machine could do",
            lambda *args: 1 / model_utilisation(*args),
        ),
    ),
    difference=compare.floats,
)


# 15.4 ----------------------------------------------------------------------------------------------------------------


def ring_round(chunks: Tensor, s: int) -> Tensor:
    """(n, n, m) -> (n, n, m): in round s process r adds chunk (r - 1 - s) mod n of process r - 1 to its own."""
    n, after = len(chunks), chunks.clone()
    for r in range(n):
        c = (r - 1 - s) % n
        after[r, c] = chunks[r, c] + chunks[(r - 1) % n, c]
    return after


def _ring_cases() -> list[Case]:
    generator, cases = torch.Generator().manual_seed(0), []
    for n, m, s in [(3, 2, 0), (3, 2, 1), (4, 1, 0), (4, 3, 2), (2, 5, 0)]:
        cases.append(Case((torch.randn(n, n, m, generator=generator), s)))
    return [*cases, Case((torch.randn(5, 5, 2, generator=generator, dtype=torch.float64), 3))]


def _ring(source=lambda r, n: (r - 1) % n, chunk=lambda r, s, n: (r - 1 - s) % n, add: bool = True):
    """The round with one choice changed."""

    def answer(chunks: Tensor, s: int) -> Tensor:
        n, after = len(chunks), chunks.clone()
        for r in range(n):
            c = chunk(r, s, n)
            after[r, c] = chunks[source(r, n), c] + (chunks[r, c] if add else 0)
        return after

    return answer


def _everything(chunks: Tensor, s: int) -> Tensor:
    return chunks + chunks.roll(1, dims=0)


def _moved(chunks: Tensor, s: int) -> Tensor:
    """The round, after which the sender has lost what it sent."""
    n, after = len(chunks), ring_round(chunks, s)
    for r in range(n):
        after[r, (r - s) % n] = 0
    return after


def _all_rounds(chunks: Tensor, s: int) -> Tensor:
    for number in range(s + 1):
        chunks = ring_round(chunks, number)
    return chunks


def _without_first(chunks: Tensor, s: int) -> Tensor:
    return torch.cat([chunks[:1], ring_round(chunks, s)[1:]])


RING = Exercise(
    id="15.4",
    title="A round of the ring",
    reference=ring_round,
    cases=_ring_cases,
    mistakes=(
        Mistake("what arrives replaces what was there; add it", _ring(add=False)),
        Mistake(
            "the chunks travel the wrong way round: process r receives from r - 1",
            _ring(source=lambda r, n: (r + 1) % n),
        ),
        Mistake(
            "in every round another chunk travels: s is not used",
            _ring(chunk=lambda r, s, n: (r - 1) % n),
        ),
        Mistake(
            "process r receives what r - 1 sends, and r - 1 sends chunk (r - 1 - s) mod n; here it is (r - s) mod n",
            _ring(chunk=lambda r, s, n: (r - s) % n),
        ),
        Mistake(
            "the number of the chunk falls from round to round: (r - 1 - s) mod n, not (r - 1 + s) mod n",
            _ring(chunk=lambda r, s, n: (r - 1 + s) % n),
        ),
        Mistake(
            "whole vectors travel; in one round each process sends a single chunk, a part 1/n of its vector",
            _everything,
        ),
        Mistake(
            "every process receives the same chunk, number s; each has one of its own",
            _ring(chunk=lambda r, s, n: s % n),
        ),
        Mistake(
            "the number of the chunk is one too low: (r - 1 - s) mod n is what process r receives, not what it sends",
            _ring(chunk=lambda r, s, n: (r - 2 - s) % n),
        ),
        Mistake(
            "process 0 receives too, from the last one: that makes it a ring",
            _without_first,
        ),
        Mistake(
            "all rounds up to s are done; the chunks given are those before round s, so do this one alone",
            _all_rounds,
        ),
        Mistake(
            "the sender loses what it sends; it sends a copy and keeps its own",
            _moved,
        ),
        Mistake(
            "process and chunk are swapped: the first axis of `chunks` is the process",
            lambda chunks, s: ring_round(chunks.transpose(0, 1), s).transpose(0, 1),
        ),
        Mistake(
            "nothing has been received: the chunks are those from before the round",
            lambda chunks, s: chunks.clone(),
        ),
        Mistake(
            "this is the end of the whole journey, the sum over all processes; one round is asked for",
            lambda chunks, s: chunks.sum(dim=0, keepdim=True).expand_as(chunks).clone(),
        ),
    ),
)


# 15.5 ----------------------------------------------------------------------------------------------------------------


def fewest_gpus(alone: float, size: float, rate: float, limit: float) -> int:
    """The smallest n for which alone / n + 2·(n - 1)/n·size / rate is at most `limit`; ValueError if there is none."""
    ring = 2 * size / rate  # what the network takes with very many GPUs
    if alone <= limit:
        return 1
    if limit <= ring:
        raise ValueError("the network alone takes longer")
    return math.ceil((alone - ring) / (limit - ring))


def _gpu_cases() -> list[Case]:
    runs = [
        (1.0, 1e8, 50e9, 0.1),
        (0.5, 4e8, 50e9, 0.05),
        (2.0, 4e8, 450e9, 0.03),
        (0.8, 1e9, 50e9, 0.9),
        (0.35, 2.5e8, 25e9, 0.0613),
        (0.01, 4e8, 50e9, 0.02),
        (0.01, 4e8, 50e9, 0.012),  # in time alone, though the network would take longer than the limit
        (0.5, 4e8, 50e9, 0.5),
    ]
    return [
        *[Case(run) for run in runs],
        Case((1.0, 4e8, 50e9, 0.01), raises=ValueError),
        Case((3.0, 1e9, 25e9, 0.08), raises=ValueError),
    ]


def _found(time, most: int = 5000):
    """The first n whose step takes `time(n, …)` or less."""

    def answer(alone: float, size: float, rate: float, limit: float) -> int:
        for n in range(1, most):
            if time(n, alone, size / rate) <= limit:
                return n
        raise ValueError("no number of GPUs is enough")

    return answer


def _formula_alone(alone: float, size: float, rate: float, limit: float) -> int:
    """Without a look at a single GPU."""
    ring = 2 * size / rate
    if limit <= ring:
        raise ValueError
    return math.ceil((alone - ring) / (limit - ring))


FEWEST = Exercise(
    id="15.5",
    title="How many GPUs?",
    reference=fewest_gpus,
    cases=_gpu_cases,
    mistakes=(
        Mistake(
            "the network is left out; nothing of it is hidden behind the arithmetic here, so add its time to alone / n",
            lambda alone, size, rate, limit: math.ceil(alone / limit),
        ),
        Mistake(
            "in a ring everything travels twice, once to be added up and once to be handed out: 2·(n - 1)/n",
            _found(lambda n, alone, travel: alone / n + (n - 1) / n * travel),
        ),
        Mistake(
            "the network takes 2·(n - 1)/n times size / rate, not once, however many GPUs there are",
            _found(lambda n, alone, travel: alone / n + travel),
        ),
        Mistake(
            "a step that takes the limit exactly is in time: at most, not less than",
            _found(lambda n, alone, travel: math.nextafter(alone / n + 2 * (n - 1) / n * travel, math.inf)),
        ),
        Mistake(
            "each GPU sends chunks of 1/n, so the network takes 2·(n - 1)/n times size / rate, not 2·(n - 1) times",
            _found(lambda n, alone, travel: alone / n + 2 * (n - 1) * travel),
        ),
        Mistake(
            "the network's work is not divided among the GPUs: only `alone` is",
            _found(lambda n, alone, travel: (alone + 2 * (n - 1) / n * travel) / n),
        ),
        Mistake(
            "rounded down, the step takes longer than the limit; round up",
            lambda alone, size, rate, limit: max(1, fewest_gpus(alone, size, rate, limit) - 1),
        ),
        Mistake(
            "one GPU alone is in time here, and the formula gives less than 1: look at n = 1 first",
            _formula_alone,
        ),
        Mistake(
            "one GPU alone is in time here: look at n = 1 before you ask whether the network takes too long",
            lambda alone, size, rate, limit: max(1, _formula_alone(alone, size, rate, limit)),
        ),
        Mistake(
            "a step takes w + (alone - w) / n, with w for 2 * size / rate: subtract w from `alone`, too",
            lambda alone, size, rate, limit: (
                1 if alone <= limit else fewest_gpus(alone + 2 * size / rate, size, rate, limit)
            ),
        ),
        Mistake(
            "only powers of two are tried; any whole number will do",
            lambda alone, size, rate, limit: 2 ** math.ceil(math.log2(fewest_gpus(alone, size, rate, limit))),
        ),
        Mistake(
            "a single GPU sends nothing: with n = 1 the network takes no time",
            _found(lambda n, alone, travel: alone / n + 2 * travel),
        ),
    ),
    difference=compare.integers,
)

EXERCISES = {exercise.id: exercise for exercise in (TRAINING_STATE, ACCUMULATED, UTILISATION, RING, FEWEST)}
