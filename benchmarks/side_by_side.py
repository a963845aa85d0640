"""What the benchmarks share: timing both sides in turn, the memory of child processes, one table, one JSON file."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from breastlens.machine import usable_cores

BREASTLENS = (sys.executable, "-m", "breastlens")
"""The command line of BreastLens, by the interpreter that runs the benchmark."""

RESULTS = Path(__file__).parent / "results"

_VERSIONS = (
    "breastlens",
    "keras",
    "numpy",
    "opencv-python-headless",
    "openvino",
    "tensorflow-cpu",
    "tensorflow",
)
_LOOK_EVERY_S = 0.1
_SAID = 2_000
_QUIET = 0.05

Taken = TypeVar("Taken")


@dataclass(frozen=True)
class Child:
    """A process that ran to its end.

    Attributes:
        elapsed_s: From before it was started until it had ended, its imports included.
        processor_s: Processor time of it and its own children on all cores; other programs hardly change it.
        peak_bytes: Most resident memory that it and its own children held at once, looked at ten times a second; None
            where the system has no ``/proc``. Pages that several processes share are counted in each.
        stdout: What it printed.
    """

    elapsed_s: float
    processor_s: float
    peak_bytes: int | None
    stdout: str


@dataclass(frozen=True)
class Spread:
    """Repeats of one figure: the middle one, the least and the greatest, and all of them."""

    median: float
    low: float
    high: float
    values: tuple[float, ...]

    def written(self, digits: int = 1) -> str:
        """As a table shows it: the median, and the range where there are several repeats."""
        if len(self.values) == 1:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


def spread(values: Sequence[float]) -> Spread:
    """Median and range of the repeats of one figure."""
    return Spread(statistics.median(values), min(values), max(values), tuple(values))


def take_turns(sides: Mapping[str, Callable[[], Taken]], repeats: int) -> dict[str, list[Taken]]:
    """Run every side in turn, repeat after repeat, every second time in reverse.

    So whatever else the machine does meets all sides alike, and none always comes after the same other.

    Args:
        sides: What to run, by name.
        repeats: How often.

    Returns:
        What each side gave, by name, a value a repeat.
    """
    taken: dict[str, list[Taken]] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name in list(sides) if repeat % 2 == 0 else reversed(list(sides)):
            say(f"{name}, {repeat + 1} of {repeats}")
            taken[name].append(sides[name]())
    return taken


def seconds(function: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def run_child(command: Sequence[str | Path], *, caches: Path | None = None) -> Child:
    """Run a command to its end and take its time and memory.

    Args:
        command: Program and arguments.
        caches: Folder for whatever is kept between runs (``XDG_CACHE_HOME``); an empty one makes a first run. None: a
            new one, removed afterwards.

    Raises:
        RuntimeError: It ended with another code than 0; the message holds the end of what it said.
    """
    if caches is None:
        with temporary_folder() as folder:
            return run_child(command, caches=folder)
    environment = {**os.environ, "XDG_CACHE_HOME": str(caches), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("BREASTLENS_CACHE", None)
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complained:
        used_s = _children_s()
        started = time.perf_counter()
        process = subprocess.Popen(
            list(map(str, command)), env=environment, stdout=said, stderr=complained, start_new_session=True
        )
        try:
            elapsed_s, peak_bytes, code = _wait_and_watch(process, started)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        said.seek(0)
        complained.seek(0)
        if code != 0:
            told = (complained.read() + said.read())[-_SAID:]
            raise RuntimeError(f"{' '.join(map(str, command))} ended with {code}:\n{told}")
        return Child(elapsed_s, _children_s() - used_s, peak_bytes, said.read())


def _wait_and_watch(process: subprocess.Popen[bytes], started: float) -> tuple[float, int | None, int]:
    """Time, peak memory with its children, and exit code of a process; looking takes a hundredth of a core."""
    peak_bytes = 0
    ended = threading.Event()

    def look() -> None:
        nonlocal peak_bytes
        while not ended.wait(_LOOK_EVERY_S):
            peak_bytes = max(peak_bytes, _tree_bytes(process.pid))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        code = process.wait()
        elapsed_s = time.perf_counter() - started
    finally:
        ended.set()
        watcher.join()
    return elapsed_s, peak_bytes or None, code


def _tree_bytes(pid: int) -> int:
    """Resident memory of a process and all below it; 0 for what has ended meanwhile.

    The high-water mark of the process itself counts where it is more: it may have held that between two looks.
    """
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return 0
    resident, most = (1024 * int(status.get(name, "0 kB").split()[0]) for name in ("VmRSS", "VmHWM"))
    return max(most, resident + sum(map(_tree_bytes, children)))


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is gone afterwards, also after Ctrl-C or a polite kill."""

    def leave(*_: object) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        with tempfile.TemporaryDirectory(prefix="breastlens-bench-") as name:
            yield Path(name)
    finally:
        signal.signal(signal.SIGTERM, before)


def options(description: str | None, *, repeats: int | None) -> argparse.ArgumentParser:
    """A command line with what every benchmark takes: ``--out``, and ``--repeats`` unless it has none."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if repeats is not None:
        parser.add_argument(
            "--repeats", type=int, default=repeats, help="how often each side runs (%(default)s)"
        )
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="folder for the figures as JSON (benchmarks/results)"
    )
    return parser


def data_options(description: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """The command line of a benchmark that trains on images of one's own: ``options``, and what says which."""
    parser = options(description, repeats=repeats)
    parser.add_argument("--data", type=Path, required=True, help="folder with a subfolder a category")
    parser.add_argument("--manifest", type=Path, help="as for breastlens train")
    parser.add_argument("--exclude-when", action="append", default=[], help="as for breastlens train")
    parser.add_argument("--positive", action="append", required=True, help="category; repeatable")
    parser.add_argument("--weights", default="imagenet", help="imagenet, or a folder of weights files")
    return parser


def report(
    name: str,
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    out: Path,
    *,
    left: int = 1,
    **facts: Any,
) -> None:
    """Print one table and write it with all figures behind it to ``OUT/NAME.json``.

    Args:
        name: Of the benchmark.
        title: What the table shows, in a sentence.
        header: Names of the columns.
        rows: Cells as they are shown.
        out: Folder for the JSON, made where there is none.
        left: So many columns are words and stand left, the others right.
        **facts: The figures themselves and what was asked for; dataclasses are written as objects.
    """
    machine = describe_machine()
    print(f"\n{title}")
    print(
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB; "
        f"other work had {machine['others_share']:.0%} of the processor"
    )
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, ["-" * width for width in widths], *rows):
        cells = zip(row, widths, strict=True)
        print(
            "  ".join(
                cell.ljust(width) if at < left else cell.rjust(width)
                for at, (cell, width) in enumerate(cells)
            )
        )
    out.mkdir(parents=True, exist_ok=True)
    told = {
        "benchmark": name,
        "title": title,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "table": {"header": list(header), "rows": [list(row) for row in rows]},
        **facts,
    }
    if machine["others_share"] > _QUIET:
        print(
            "The machine was busy with other work: the figures are rough, and ratios only a little less so."
        )
    path = out / f"{name}.json"
    path.write_text(json.dumps(told, indent=2, default=_plain) + "\n", encoding="utf-8")
    print(f"Written to {path}")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else asdict(value)


def describe_machine() -> dict[str, Any]:
    """Processor, cores that may be used, memory, versions, and what share of the processor other work had meanwhile."""
    versions = {}
    for name in _VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "processor": _processor_name(),
        "cores": usable_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": versions,
        "others_share": _others_share(),
    }


def _busy_s() -> float:
    """Processor seconds that all programs of the machine have used; 0 where there is no ``/proc``."""
    try:
        user, nice, system, *_ = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:])
    except OSError:
        return 0.0
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _children_s() -> float:
    """Processor seconds of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _own_s() -> float:
    """Processor seconds of this process and of its children that have ended."""
    return time.process_time() + _children_s()


_STARTED = time.perf_counter(), _busy_s() - _own_s()


def _others_share() -> float:
    """Share of the machine's processor time since this module was imported that went to other programs."""
    began, before = _STARTED
    return max(0.0, _busy_s() - _own_s() - before) / (time.perf_counter() - began) / (os.cpu_count() or 1)


def _processor_name() -> str:
    """As Linux and OpenVINO's users know it, with family and model where the name alone is vague."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    known = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return f"{known.get('model name', platform.machine())} (family {known.get('cpu family', '?')})"


def say(text: str) -> None:
    """Tell on stderr how far it is; the table alone goes to stdout."""
    print(text, file=sys.stderr, flush=True)
