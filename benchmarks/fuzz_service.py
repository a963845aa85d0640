"""Very many damaged and hostile images through the running service: none may take it down, hold it up or make it grow.

Run as ``python benchmarks/fuzz_service.py [--images 20000] [--seed 0]``.

A small model is trained and served with a short time for decoding. Images of ``benchmarks/hostile_images.py`` are sent,
three a request, over eight connections that stay open. It ends with 1 where an answer has a status of 5xx other than
503, a connection breaks, a request takes longer than a decoder may and 5 s more, or the service, its decoders included,
holds at the end over a fifth more memory than after a tenth of the images. A decoder that dies of an image is none of
these, but it is counted, and the numbers of such images are in the JSON: ``hostile_images.damaged`` makes them again.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from hostile_images import Sample, damaged, make_samples
from saved_models import train_model
from side_by_side import BREASTLENS, options, report, say, temporary_folder

CONNECTIONS = 8
LATE_S = 5.0
MOST_GROWTH = 0.2
SETTLED = 0.1
OUTCOMES = ("scored", "unreadable", "lost decoder", "too slow", "not answered")
_READY_S = 120.0
_END_S = 60.0
_TOLD = 200
_LOST = "Decoding it failed"
_SLOW = "It was not decoded within"
_REFUSED = (503,)


@dataclass
class Outcome:
    """What became of the images so far; threads add to it one at a time.

    Attributes:
        images: Of each format, how many were scored, unreadable and so on.
        statuses: Of requests.
        lost: Images that a decoder died of, or was killed for.
        broken: What went wrong with connections.
        latencies: Of requests, in seconds.
    """

    images: dict[str, collections.Counter[str]] = field(
        default_factory=lambda: collections.defaultdict(collections.Counter)
    )
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    lost: list[dict[str, Any]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def main() -> int:
    """Print one table."""
    arguments = parse()
    samples = make_samples(arguments.seed)
    with temporary_folder() as folder:
        run = arguments.model or train_model(folder, arguments.backbone, "none")[0]
        with serving(run, arguments.decode_timeout, folder) as (url, process):
            outcome, begun = Outcome(), time.perf_counter()
            numbers = range(arguments.images)
            first = max(1, round(len(numbers) * SETTLED))
            memory = {"ready": memory_bytes(process.pid)}
            send_all(url, samples, arguments.seed, numbers[:first], arguments.together, outcome)
            memory["settled"] = memory_bytes(process.pid)
            say(f"{first} images, {memory['settled'] / 1e6:,.0f} MB")
            for begin in range(first, len(numbers), first):
                part = numbers[begin : begin + first]
                send_all(url, samples, arguments.seed, part, arguments.together, outcome)
                say(f"{part.stop} images, {memory_bytes(process.pid) / 1e6:,.0f} MB")
            elapsed_s = time.perf_counter() - begun
            memory["end"] = memory_bytes(process.pid)
            lost = decoders_lost(url)
        code = process.returncode
    faults = find_faults(outcome, memory, arguments.decode_timeout + LATE_S, code)
    tell(arguments, outcome, memory, elapsed_s, lost, faults)
    for fault in faults:
        print(f"FAULT: {fault}")
    return 1 if faults else 0


@contextlib.contextmanager
def serving(run: Path, decode_timeout: float, folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A service of its own on a free port; ended by its process id."""
    command = [*BREASTLENS, "serve", str(run), "--port", "0", "--decode-timeout", str(decode_timeout)]
    environment = {**os.environ, "BREASTLENS_CACHE": str(folder / "cache")}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        timer = threading.Timer(_READY_S, process.kill)
        timer.start()
        try:
            found = None
            for line in process.stdout or ():
                found = re.match(r"Serving at (\S+) ", line)
                if found:
                    break
            timer.cancel()
            if found is None:
                log.seek(0)
                raise RuntimeError(f"the service did not start:\n{log.read()[-2000:]}")
            yield found[1], process
        finally:
            timer.cancel()
            process.terminate()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def send_all(
    url: str, samples: Sequence[Sample], seed: int, numbers: Sequence[int], together: int, outcome: Outcome
) -> None:
    """Send images of these numbers, so many a request, over several connections."""
    parts = iter([numbers[begin : begin + together] for begin in range(0, len(numbers), together)])
    taking = threading.Lock()

    def send_some() -> None:
        with httpx.Client(base_url=url, timeout=120) as client:
            while True:
                with taking:
                    part = next(parts, None)
                if part is None:
                    return
                send(client, {number: damaged(samples, seed, number) for number in part}, outcome)

    threads = [threading.Thread(target=send_some) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def send(client: httpx.Client, images: dict[int, Sample], outcome: Outcome) -> None:
    """Send one request and count what comes back."""
    files = [("files", (f"image{image.suffix}", image.data)) for image in images.values()]
    begun = time.perf_counter()
    try:
        answer = client.post("/v1/predictions", files=files)
        found = answer.json()["predictions"] if answer.status_code == 200 else [None] * len(images)
    except (httpx.HTTPError, ValueError, KeyError) as error:
        with outcome.lock:
            outcome.broken.append(f"images {list(images)}: {type(error).__name__} {error}")
            for image in images.values():
                outcome.images[image.format]["not answered"] += 1
        return
    elapsed_s = time.perf_counter() - begun
    with outcome.lock:
        outcome.latencies.append(elapsed_s)
        outcome.statuses[answer.status_code] += 1
        for (number, image), one in zip(images.items(), found, strict=True):
            name = name_outcome(one)
            outcome.images[image.format][name] += 1
            if name in ("lost decoder", "too slow"):
                outcome.lost.append(
                    {"number": number, "format": image.format, "damage": image.damage, "outcome": name}
                )


def name_outcome(answer: dict[str, Any] | None) -> str:
    """What became of one image."""
    if answer is None:
        return "not answered"
    if answer["problem"] is None:
        return "scored"
    said = answer["problem"]["detail"]
    return (
        "lost decoder" if said.startswith(_LOST) else "too slow" if said.startswith(_SLOW) else "unreadable"
    )


def memory_bytes(pid: int) -> int:
    """Resident memory of the service and its decoders; pages that they share count in each."""
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    children = itertools.chain.from_iterable(
        (task / "children").read_text().split() for task in Path(f"/proc/{pid}/task").iterdir()
    )
    return resident + sum(map(memory_bytes, map(int, children)))


def decoders_lost(url: str) -> int:
    """How many decoders died, as the service itself counts."""
    found = re.search(
        r"^breastlens_decoders_lost_total (\S+)", httpx.get(f"{url}/metrics").text, re.MULTILINE
    )
    return int(float(found[1])) if found else 0


def find_faults(outcome: Outcome, memory: dict[str, int], most_s: float, code: int | None) -> list[str]:
    """What a service may not do."""
    faults = [
        f"{count} requests were answered with {status}"
        for status, count in sorted(outcome.statuses.items())
        if status >= 500 and status not in _REFUSED
    ]
    if outcome.broken:
        faults.append(f"{len(outcome.broken)} connections broke, the first with {outcome.broken[0]}")
    late = sum(elapsed_s > most_s for elapsed_s in outcome.latencies)
    if late:
        faults.append(f"{late} requests took longer than {most_s:g} s")
    growth = memory["end"] / memory["settled"] - 1
    if growth > MOST_GROWTH:
        faults.append(f"memory grew by {growth:.0%}")
    if code != 0:
        faults.append(f"the service ended with {code}")
    return faults


def tell(
    arguments: argparse.Namespace,
    outcome: Outcome,
    memory: dict[str, int],
    elapsed_s: float,
    lost: int,
    faults: Sequence[str],
) -> None:
    """Print the table, and write it."""
    total = sum(outcome.images.values(), collections.Counter())
    rows = [
        [name, *(f"{counted[one]:,}" for one in ("all", *OUTCOMES))]
        for name, counted in (
            (name, counted | collections.Counter(all=counted.total()))
            for name, counted in [*sorted(outcome.images.items()), ("all", total)]
        )
    ]
    ordered = sorted(outcome.latencies) or [0.0]
    slowest_s = {f"p{share}_s": ordered[int((len(ordered) - 1) * share / 100)] for share in (50, 99, 100)}
    report(
        "fuzz_service",
        f"Damaged and hostile images sent to the service, seed {arguments.seed}: what became of them; "
        f"{total.total() / elapsed_s:,.0f} a second, the slowest request {slowest_s['p100_s']:.1f} s, "
        f"{lost} decoders lost, memory {memory['settled'] / 1e6:,.0f} MB after a tenth of them and "
        f"{memory['end'] / 1e6:,.0f} MB at the end",
        ("format", "images", *OUTCOMES),
        rows,
        arguments.out,
        arguments=vars(arguments),
        images=outcome.images,
        statuses=outcome.statuses,
        elapsed_s=elapsed_s,
        latency_s=slowest_s | {"mean_s": statistics.fmean(ordered)},
        decoders_lost=lost,
        memory_bytes=memory,
        lost=outcome.lost[:_TOLD],
        broken=outcome.broken[:_TOLD],
        faults=list(faults),
    )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = options(__doc__, repeats=None)
    parser.add_argument("--images", type=int, default=20_000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of what is done to them (%(default)s)")
    parser.add_argument("--together", type=int, default=3, help="images a request (%(default)s)")
    parser.add_argument(
        "--decode-timeout", type=float, default=2.0, help="as for breastlens serve (%(default)s)"
    )
    parser.add_argument("--model", type=Path, help="a run or bundle; else a small one is trained")
    parser.add_argument(
        "--backbone", default="mobilenet:0.25", help="of the model that is trained (%(default)s)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
