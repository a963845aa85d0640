"""A folder of very many small images scored on a Ray cluster of several nodes on this machine, one of which is killed.

Run as ``python benchmarks/cluster.py [--images 200000] [--workers 1 2 4] [--scaling-images 20000]``.

First the scaling: the same images by one process here, and by 1, 2 and 4 nodes of one processor each. Then the death:
all images on two nodes, and when a third of them are scored one node is killed. What is shown is that each image has
its row exactly once, and the score that one process gives it. Processors are the machine's: beyond as many as it has,
nodes only share them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from breastlens import load
from breastlens.inference.inputs import list_inputs
from breastlens.inference.shards import Scoring
from breastlens.progress import Advance, Progress
from breastlens.runs.scoring import score_to_csv
from breastlens.work.on_ray import OnRay
from breastlens.work.run import Here, Place
from saved_models import train_model
from side_by_side import options, report, say, seconds, temporary_folder

BACKBONE, SIDE, DIFFERENT = "mobilenet:0.25", 64, 1_000
PER_FOLDER = 1_000
STORE_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Scored:
    """What came of scoring a folder.

    Attributes:
        where: On what.
        images: How many.
        seconds: From the first listing to the whole CSV.
        equal: Whether each has its row exactly once, and the row that one process makes.
    """

    where: str
    images: int
    seconds: float
    equal: bool


class Watched(Progress):
    """Does something when so many images are scored."""

    def __init__(self, after: int, act: Any) -> None:
        self._after, self._act = after, act

    @contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Advance]:
        """One piece of work."""

        def advance(done: int, *, total: int | None = None, **figures: float) -> None:
            if self._act is not None and done >= self._after:
                act, self._act = self._act, None
                act()

        yield advance


def main() -> None:
    """Score on more and more nodes, then lose one, and print the table."""
    parser = options(__doc__, repeats=None)
    parser.add_argument("--images", type=int, default=200_000, help="scored while a node dies")
    parser.add_argument("--scaling-images", type=int, default=20_000, help="scored on each number of nodes")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="nodes of one processor")
    arguments = parser.parse_args()
    with temporary_folder() as folder:
        model, _ = train_model(folder / "model", BACKBONE, "none")
        scoring = Scoring.of(load(model).bundle, similar=0, rebased=None)
        few, many = folder / "few", folder / "many"
        make_thumbnails(few, arguments.scaling_images)
        say("one process")
        rows = [score(few, folder / "here.csv", scoring, Here(), "one process", None)]
        wanted = pd.read_csv(folder / "here.csv", index_col="path")
        for workers in arguments.workers:
            say(f"{workers} nodes")
            with cluster(workers) as nodes:
                where = f"{workers} {'node' if workers == 1 else 'nodes'}"
                rows.append(score(few, folder / f"{workers}.csv", scoring, OnRay(), where, wanted))
        make_thumbnails(many, arguments.images)
        say("a node that dies")
        with cluster(2) as nodes:
            watched = Watched(arguments.images // 3, lambda: nodes.kill_one())
            where = "2 nodes, one killed after a third"
            rows.append(score(many, folder / "many.csv", scoring, OnRay(), where, wanted, watched))
    report(
        "cluster",
        f"Thumbnails of {SIDE} px scored by {BACKBONE} (PNG, random weights) on Ray nodes of one processor",
        ["where", "images", "seconds", "images/s", "to one process", "rows"],
        [
            [
                each.where,
                f"{each.images:,}",
                f"{each.seconds:.1f}",
                f"{each.images / each.seconds:,.0f}",
                f"{each.images / each.seconds / (rows[0].images / rows[0].seconds):.2f}",
                "equal, each once" if each.equal else "DIFFERENT",
            ]
            for each in rows
        ],
        arguments.out,
        scored=rows,
    )
    if not all(each.equal for each in rows):
        raise SystemExit(1)


def make_thumbnails(folder: Path, count: int) -> None:
    """Many files of few contents: only their names differ further on, which takes no room."""
    folder.mkdir()
    generator = np.random.default_rng(1)
    originals = []
    for number in range(min(DIFFERENT, count)):
        pixels = cv2.GaussianBlur(generator.integers(0, 255, (SIDE, SIDE), np.uint8), (0, 0), 3)
        originals.append(folder / f".original-{number}.png")
        cv2.imwrite(str(originals[-1]), cv2.normalize(pixels, None, 0, 255, cv2.NORM_MINMAX))
    for number in range(count):
        part = folder / f"{number // PER_FOLDER:05}"
        part.mkdir(exist_ok=True)
        os.link(originals[number % len(originals)], part / f"{number:07}.png")


def score(
    folder: Path,
    out: Path,
    scoring: Scoring,
    place: Place,
    where: str,
    wanted: pd.DataFrame | None,
    progress: Progress | None = None,
) -> Scored:
    """Score a folder, and hold the rows against those of one process."""
    taken = seconds(lambda: score_to_csv([str(folder)], out, scoring, place, progress or Progress()))
    found = pd.read_csv(out, index_col="path")
    names = list(list_inputs([str(folder)]))
    equal = found.index.tolist() == names
    if wanted is not None:
        of_content = wanted.reset_index(drop=True).iloc[:DIFFERENT]
        turned = np.arange(len(found)) % min(DIFFERENT, len(found))
        equal = equal and found.reset_index(drop=True).equals(of_content.iloc[turned].reset_index(drop=True))
    return Scored(where, len(found), taken, equal)


class Nodes:
    """A head that does no work, and nodes that do."""

    def __init__(self, workers: int) -> None:
        import ray
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes = [
            self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(workers)
        ]
        ray.init(self._cluster.address, log_to_driver=False, logging_level="ERROR")

    def kill_one(self) -> None:
        """As if its machine had lost its power."""
        say(f"{time.strftime('%X')}: a node is killed")
        self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)

    def stop(self) -> None:
        """End all of it."""
        import ray

        ray.shutdown()
        self._cluster.shutdown()


@contextmanager
def cluster(workers: int) -> Iterator[Nodes]:
    """A cluster for a while."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    nodes = Nodes(workers)
    try:
        yield nodes
    finally:
        nodes.stop()


if __name__ == "__main__":
    main()
