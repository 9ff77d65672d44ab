"""Whether a training that is killed goes on as if nothing had been: 100 times, and 20 in two processes (about 10 min).

SIGKILL, which leaves no time to tidy up, comes at random moments: to a training that is then resumed, and to one of two
processes, which torchrun starts anew. Every checkpoint that is left behind has to be whole, and every run has to end
with the weights of one that nobody disturbed, bit by bit. When a run has ended, another begins.
"""

import itertools
import multiprocessing
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from _record import or_smoke, spread, start
from safetensors.torch import load_file

from vitedu.train.checkpoint import STATE_FILE, load_checkpoint, read_state
from vitedu.train.run import RUN_FILE, build_model, read_run

KILLS, KILLS_OF_TWO = or_smoke((25, 5), (5, 5))  # for each seed
EPOCHS = 90  # some seconds
OPTIONS = f"--data digits --dim 16 --depth 1 --num-heads 1 --patch-size 4 --batch-size 256 --epochs {EPOCHS}".split()
OPTIONS += ["--dropout", "0.1", "--crop", "1"]  # chance, too, has to go on where it was
ONE = """import os, sys, torch
from vitedu.train.cli import main
torch.set_num_threads(1)
sys.stdout = open(os.devnull, "w")
sys.exit(main({arguments}))"""
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1000"]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)}


def epoch_of(out: Path) -> int:
    """The epoch of the last checkpoint, 0 if there is none yet; a torn one raises."""
    return load_checkpoint(out, build_model(read_run(out)))["epoch"] if (out / STATE_FILE).exists() else 0


def same_weights(one: Path, other: Path) -> bool:
    mine, theirs = (load_file(out / read_state(out)["tensors"]) for out in (one, other))
    return mine.keys() == theirs.keys() and all(mine[name].equal(theirs[name]) for name in mine)


def alone(out: Path, kills: int, moments: random.Random) -> list[int]:
    """Train in `out`, killed at most so many times; the epochs that the checkpoints had reached then."""
    context, epochs = multiprocessing.get_context("forkserver"), []
    context.set_forkserver_preload(["vitedu.train.cli", "sklearn.datasets", "torch._dynamo"])  # or they take seconds

    def begin(*arguments: str) -> multiprocessing.Process:
        process = context.Process(target=exec, args=(ONE.format(arguments=arguments), {}))
        process.start()
        return process

    process = begin(*OPTIONS, "--out", str(out))
    while not (out / RUN_FILE).exists():  # training has not begun before that
        time.sleep(0.01)
    while len(epochs) < kills:
        process.join(moments.uniform(0.02, 0.5))
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            break
        epochs.append(epoch_of(out))
        process = begin("--resume", str(out))
    process.join()
    assert process.exitcode == 0
    return epochs


def in_two(out: Path, kills: int, moments: random.Random) -> list[int]:
    """The same in two processes of which one is killed, now and then before it trains."""
    environment, log, epochs, known = os.environ | ENVIRONMENT, out.with_suffix(".log"), [], set()
    with log.open("w") as file:
        command = [*TWO, "-m", "vitedu.train", *OPTIONS, "--out", str(out)]
        job = psutil.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    reached = 0
    while job.poll() is None:
        pair = [process for process in job.children() if process.pid not in known]
        if len(pair) < 2:
            time.sleep(0.05)
            continue
        if known:  # the kill before it has ended the two before
            epochs.append(reached)
        if len(epochs) == kills:
            break
        known |= {process.pid for process in pair}
        early = moments.random() < 0.25
        while not early and job.poll() is None and epoch_of(out) <= reached:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))
        reached = epoch_of(out)
        moments.choice(pair).kill()
    assert job.wait() == 0, log.read_text()
    # what a checkpoint held was not done again: an epoch may be told twice only if the kill came before it was saved
    assert log.read_text().count("validation loss") <= EPOCHS + len(epochs)
    return epochs


def measure(trial: Callable[[Path, int, random.Random], list[int]], kills: int, seeds: list[int]) -> dict:
    """So many kills for each seed, in as many runs as they take."""
    found, runs = [], 0
    for seed in seeds:
        moments, epochs = random.Random(seed), []
        with tempfile.TemporaryDirectory() as folder:
            quiet = Path(folder, "quiet")
            trial(quiet, 0, moments)
            for number in itertools.count():
                out = Path(folder, str(number))
                epochs += trial(out, kills - len(epochs), moments)
                assert same_weights(out, quiet)
                runs += 1
                if len(epochs) == kills:
                    break
        found.append(epochs)
        print(f"{trial.__name__}, seed {seed}: {kills} kills, all runs went on to the same weights", flush=True)
    epoch = spread([statistics.fmean(epochs) for epochs in found])
    return {"kills": kills * len(seeds), "runs": runs, "went_on": sum(map(len, found)), "epoch_of_the_kill": epoch}


def main() -> None:
    run = start(__doc__, device="cpu", seeds=4)
    rows = [
        {"name": "one process, resumed", **measure(alone, KILLS, run.seeds)},
        {"name": "one of two processes, started anew", **measure(in_two, KILLS_OF_TWO, run.seeds)},
    ]
    run.record("trainings killed at random moments", [f"digits, {EPOCHS} epochs"], rows)


if __name__ == "__main__":
    main()
