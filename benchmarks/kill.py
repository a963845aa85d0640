"""A training killed at random moments, and at every step of every write, then gone on with: is the result the same?

Run as ``python benchmarks/kill.py [--moments 20] [--every-write [N] [--folds 0] [--at-once 2]]``.

The same small training of phantoms is run once undisturbed, and then again and again. Each time the process is killed
(SIGKILL, which nothing can catch), ``breastlens train --resume`` goes on, and ``predictions.csv`` is compared with that
of the undisturbed run, byte for byte. Moments are spread at random over the time of the undisturbed run.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from breastlens.imaging.phantom import PhantomSettings, write_cohort
from side_by_side import options, report, say, temporary_folder

PATIENTS = 24
RECIPE = (
    "--backbone",
    "mobilenet:0.25",
    "--weights",
    "none",
    "--image-size",
    "64",
    "--epochs",
    "4",
    "--no-audit",
)
STRATEGIES = ("finetune", "scratch", "probe")
"""The first trains the upper part on activations that are kept, the second all of it and then again, the last no
network."""
KILLED_AT_A_STEP = """
import os, signal, sys
from breastlens import whole_files

last, steps = int(os.environ["LAST_STEP"]), 0

def reached(step):
    global steps
    steps += 1
    if steps == last:
        print(f"killed at: {step}", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

whole_files.reached = reached
from breastlens.__main__ import main
try:
    main()
finally:
    print(steps, flush=True)
"""
"""The command, which is killed at that step of its writes, or tells how many there were."""


@dataclass(frozen=True)
class Job:
    """The training, in folders of its own.

    Attributes:
        folder: Holds the images, runs and caches.
        strategy: One of ``STRATEGIES``.
        folds: So many and then everyone; 0: one training.
    """

    folder: Path
    strategy: str
    folds: int

    def begin(self, run: str) -> tuple[str, ...]:
        """The arguments that begin it."""
        data = self.folder / "data"
        return (
            *("train", str(data), "--manifest", str(data / "manifest.csv")),
            *RECIPE,
            *("--strategy", self.strategy),
            *(("--folds", str(self.folds)) if self.folds else ()),
            *("--quiet", "--out", str(self.folder / run)),
        )

    def go_on(self, run: str) -> tuple[str, ...]:
        """The arguments that go on with it; from the beginning, where it had got nowhere."""
        if (self.folder / f".{run}.units" / "job.json").exists():
            return ("train", "--quiet", "--resume", str(self.folder / run))
        return self.begin(run)

    def predictions(self, run: str) -> bytes:
        """What it came to."""
        return (self.folder / run / "predictions.csv").read_bytes()

    def environment(self, cache: str, **more: str) -> dict[str, str]:
        """With a cache of features of its own."""
        return os.environ | {"BREASTLENS_CACHE": str(self.folder / cache)} | more


@dataclass(frozen=True)
class Death:
    """What came of killing it once.

    Attributes:
        strategy: Of the training.
        killed: When.
        trainings: Finished ones that were kept.
        epochs: Kept of those that were not finished.
        equal: Whether the predictions came out the same, and nothing was left beside the run.
    """

    strategy: str
    killed: str
    trainings: int
    epochs: int
    equal: bool


def main() -> None:
    """Kill, go on, compare, and print the table."""
    parser = options(__doc__, repeats=None)
    parser.add_argument("--moments", type=int, default=20, help="how many random moments")
    parser.add_argument("--seed", type=int, default=0, help="draws the moments")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=STRATEGIES[:2])
    parser.add_argument("--folds", type=int, default=2, help="so many and then everyone; 0: one training")
    parser.add_argument("--at-once", type=int, default=1, help="how many are killed at steps side by side")
    parser.add_argument(
        "--every-write",
        type=int,
        nargs="?",
        const=1,
        metavar="N",
        help="also at every step of every write, or at every Nth; one step in four is of each kind",
    )
    arguments = parser.parse_args()
    deaths: list[Death] = []
    drawn = random.Random(arguments.seed)
    with temporary_folder() as folder:
        write_cohort(folder / "data", PhantomSettings(patients=PATIENTS, images_per_patient=1, seed=3))
        for number, strategy in enumerate(arguments.strategies):
            job = Job(folder, strategy, arguments.folds)
            started = time.perf_counter()
            run(job, f"whole-{strategy}", job.begin(f"whole-{strategy}"))
            lasted_s = time.perf_counter() - started
            wanted = job.predictions(f"whole-{strategy}")
            say(f"{strategy}, undisturbed: {lasted_s:.1f} s")
            moments = sorted(
                drawn.uniform(0.0, lasted_s)
                for _ in range(number, arguments.moments, len(arguments.strategies))
            )
            deaths += [at_a_moment(job, each, moment, wanted) for each, moment in enumerate(moments)]
            if arguments.every_write:
                deaths += at_every_step(job, wanted, arguments.every_write, arguments.at_once)
    equal = sum(death.equal for death in deaths)
    report(
        "kill",
        f"One training killed {len(deaths)} times and gone on with: {equal} of {len(deaths)} equal, byte for byte",
        ["strategy", "killed", "trainings kept", "epochs kept", "predictions.csv"],
        [
            [
                each.strategy,
                each.killed,
                str(each.trainings),
                str(each.epochs),
                "equal" if each.equal else "DIFFERENT",
            ]
            for each in deaths
        ],
        arguments.out,
        left=2,
        deaths=deaths,
    )
    if equal < len(deaths):
        raise SystemExit(1)


def at_a_moment(job: Job, number: int, moment_s: float, wanted: bytes) -> Death:
    """Kill it after some seconds, and go on."""
    name = f"{job.strategy}-moment-{number}"
    while True:
        process = start(job, name, job.begin(name))
        try:
            process.wait(timeout=moment_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return finish(job, name, f"after {moment_s:.1f} s", wanted)
        moment_s *= 0.8  # it was sooner done than the undisturbed one; that is no death
        for left in (name, f"{name}-cache"):
            shutil.rmtree(job.folder / left, ignore_errors=True)


def at_every_step(job: Job, wanted: bytes, apart: int, at_once: int) -> list[Death]:
    """Kill it at the first step of a write and at those that follow so far apart, to the last."""
    steps = int(until_step(job, f"{job.strategy}-steps", 0))

    def kill(step: int) -> Death:
        name = f"{job.strategy}-step-{step:03d}"
        told = until_step(job, name, step).removeprefix("killed at: ")
        return finish(job, name, f"step {step} of {steps}: {told}", wanted)

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(kill, range(1, steps + 1, apart)))


def until_step(job: Job, name: str, step: int) -> str:
    """Run it until that step of a write, 0 being none; give the last line that it has said."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_A_STEP, *job.begin(name)],
        env=job.environment(name + "-cache", LAST_STEP=str(step)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != (-signal.SIGKILL if step else 0):
        raise SystemExit(f"breastlens {' '.join(job.begin(name))} failed:\n{done.stderr}")
    return done.stdout.strip().splitlines()[-1]


def finish(job: Job, name: str, killed: str, wanted: bytes) -> Death:
    """Go on with what was killed, compare, and tidy up."""
    begun = job.folder / f".{name}.units"
    finished = len(list(begun.glob("units/*.npz")))
    epochs = sum(int(each.name.removeprefix("epoch-")) + 1 for each in begun.glob("units/*/*/epoch-*"))
    if not (job.folder / name).exists():
        run(job, name, job.go_on(name))
    elif begun.exists():  # it is complete, which is told, and what was left beside it goes
        start(job, name, job.go_on(name)).wait()
    same = job.predictions(name) == wanted
    for left in (job.folder / name, job.folder / f"{name}-cache"):
        shutil.rmtree(left, ignore_errors=True)
    strays = [path.name for path in job.folder.glob(f".{name}*")]
    say(
        f"killed {killed}: {finished} trainings and {epochs} epochs were kept, {'equal' if same else 'DIFFERENT'}"
    )
    return Death(job.strategy, killed, finished, epochs, same and not strays)


def start(job: Job, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the command."""
    return subprocess.Popen(
        [sys.executable, "-m", "breastlens", *command], env=job.environment(f"{name}-cache")
    )


def run(job: Job, name: str, command: Sequence[str]) -> None:
    """Run the command to its end."""
    if start(job, name, command).wait() != 0:
        raise SystemExit(f"breastlens {' '.join(command)} failed")


if __name__ == "__main__":
    main()
