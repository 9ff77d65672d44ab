"""Choosing a learning rate for each side of a comparison alike: the best one lies between two that are worse."""

from collections.abc import Callable, Hashable, Sequence

from _record import Run, or_smoke
from torch import nn

from vitedu.data import Dataset, Split
from vitedu.train import evaluate

Runs = dict[Hashable, dict[float, list[dict]]]  # for each arm and rate, what came out, by seed


def tuned(
    run: Run,
    train: Callable[[Hashable, float, int], dict],
    arms: Sequence[Hashable],
    ladder: Sequence[float],
) -> tuple[Runs, dict[Hashable, float]]:
    """Train every arm on the first seed at neighbouring rates until its best one is bracketed, then on all seeds there.

    Args:
        train: (arm, rate, seed) -> what came out, its "val" an accuracy on validation pictures.
        ladder: rates from low to high. An arm begins with the two in the middle; who does best at an end stays there.

    Returns:
        All runs, and for each arm the rate whose validation accuracy on the first seed was highest.
    """
    first, *others = run.seeds
    ladder = or_smoke(ladder, ladder[len(ladder) // 2 :][:1])
    runs: Runs = {arm: {} for arm in arms}
    while cases := [(arm, rate, first) for arm in arms for rate in untried(runs[arm], ladder)]:
        for (arm, rate, _), found in zip(cases, run.each(lambda case: train(*case), cases), strict=True):
            runs[arm][rate] = [found]
    chosen = {arm: best(of_arm) for arm, of_arm in runs.items()}
    cases = [(arm, chosen[arm], seed) for arm in arms for seed in others]
    for (arm, rate, _), found in zip(cases, run.each(lambda case: train(*case), cases), strict=True):
        runs[arm][rate].append(found)
    return runs, chosen


def best(of_arm: dict[float, list[dict]]) -> float:
    """The rate of the highest validation accuracy on the first seed; of equals the lowest rate."""
    return max(sorted(of_arm), key=lambda rate: of_arm[rate][0]["val"])


def untried(of_arm: dict[float, list[dict]], ladder: Sequence[float]) -> list[float]:
    """The rates to try next: the two in the middle, then the neighbours of the best one, as far as the ladder goes."""
    if not of_arm:
        return list(ladder[(len(ladder) - 1) // 2 :][:2])
    index = ladder.index(best(of_arm))
    return [rate for rate in ladder[max(0, index - 1) : index + 2] if rate not in of_arm]


def val_by_rate(of_arm: dict[float, list[dict]]) -> dict[str, float]:
    """The validation accuracy on the first seed at each rate that was tried."""
    return {str(rate): of_arm[rate][0]["val"] for rate in sorted(of_arm)}


def sparsely(epochs: int, marks: int) -> Callable[[nn.Module, Split, Dataset], dict[str, float]]:
    """What `fit` may call after each epoch: it looks at the validation pictures `marks` times in all, evenly spread."""
    done = 0

    def measure(model: nn.Module, split: Split, data: Dataset) -> dict[str, float]:
        nonlocal done
        done += 1
        return {"accuracy": evaluate(model, split, data).accuracy} if done % (epochs // marks) == 0 else {}

    return measure
