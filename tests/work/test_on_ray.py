"""A Ray cluster of several nodes on this machine: what is lost with a worker or a node is done again, and no more."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from breastlens.errors import DataError, WorkerError
from breastlens.machine import usable_cores
from breastlens.work.on_ray import OnRay, _knock
from breastlens.work.run import Failed, stream_units
from breastlens.work.store import UnitStore
from breastlens.work.unit import Unit, content_key

ray = pytest.importorskip("ray")

DoAll = Callable[..., list[Any]]


def count(folder: Path, number: int, pause_s: float = 0.0) -> int:
    """Leave a trace of each time it is done, and of who does it."""
    with (folder / f"begun-{number}").open("a") as trace:
        trace.write(f"{ray.get_runtime_context().get_node_id()}\n")
    time.sleep(pause_s)
    return number * number


def die(folder: Path) -> int:
    with (folder / "deaths").open("a") as trace:
        trace.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def die_once(folder: Path) -> int:
    if not (folder / "deaths").exists():
        die(folder)
    return 7


def cores() -> int:
    return usable_cores()


def refuse() -> int:
    raise DataError("not possible")


@pytest.fixture(scope="module")
def cluster(ray_starts: None) -> Iterator[Any]:
    """A head that takes no work and two nodes that do."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 * 2**20},
    )
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def counting(folder: Path, numbers: range, pause_s: float = 0.0) -> list[Unit]:
    return [Unit(f"square of {n}", content_key("count", n), count, (folder, n, pause_s)) for n in numbers]


def begun(folder: Path) -> dict[int, list[str]]:
    return {
        int(path.name.removeprefix("begun-")): path.read_text().split() for path in folder.glob("begun-*")
    }


def test_units_are_done_once_by_all_nodes(do_all: DoAll, cluster: Any, tmp_path: Path) -> None:
    store, units = UnitStore(tmp_path / "units", ()), counting(tmp_path, range(8), 0.2)
    assert do_all(units, store, OnRay()) == [n * n for n in range(8)]
    assert [len(by) for by in begun(tmp_path).values()] == [1] * 8
    assert len({by for (by,) in begun(tmp_path).values()}) == 2


def test_a_worker_uses_the_processors_it_asked_for(do_all: DoAll, cluster: Any, tmp_path: Path) -> None:
    assert do_all([Unit("cores", content_key(1), cores, ())], UnitStore(tmp_path, ()), OnRay()) == [1]


def test_what_a_lost_worker_had_begun_is_done_by_another(do_all: DoAll, cluster: Any, tmp_path: Path) -> None:
    units = [Unit("dies once", content_key("once"), die_once, (tmp_path,)), *counting(tmp_path, range(3))]
    assert do_all(units, UnitStore(tmp_path / "units", ()), OnRay()) == [7, 0, 1, 4]
    assert (tmp_path / "deaths").read_text() == "x"


def test_a_unit_that_ends_three_workers_is_set_aside_and_the_others_are_done(
    cluster: Any, tmp_path: Path
) -> None:
    store = UnitStore(tmp_path / "units", ())
    units = [Unit("bad", content_key("bad"), die, (tmp_path,)), *counting(tmp_path, range(3))]
    ended = {unit.title: failed for unit, failed in stream_units(units, store, OnRay())}
    bad = ended.pop("bad")
    assert isinstance(bad, Failed)
    assert isinstance(bad.error, WorkerError)
    assert "bad was set aside: 3 workers ended while they did it" in str(bad.error)
    assert (tmp_path / "deaths").read_text() == "xxx"
    assert ended == {f"square of {n}": None for n in range(3)}


def test_an_error_of_a_unit_reaches_whoever_asked(do_all: DoAll, cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not possible"):
        do_all([Unit("no", content_key("no"), refuse, ())], UnitStore(tmp_path, ()), OnRay())


def test_units_are_taken_no_faster_than_they_are_done(cluster: Any, tmp_path: Path) -> None:
    taken = 0

    def listing() -> Iterator[Unit]:
        nonlocal taken
        for unit in counting(tmp_path, range(30)):
            taken += 1
            yield unit

    for finished, _ in enumerate(stream_units(listing(), UnitStore(tmp_path / "units", ()), OnRay()), 1):
        assert taken <= finished + 3


def test_workers_of_other_versions_are_refused(
    do_all: DoAll, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("breastlens.work.on_ray._versions", lambda: {"keras": "0.0"})
    with pytest.raises(WorkerError, match=r"a worker of the Ray cluster has \S+ \S+, here it is"):
        do_all(counting(tmp_path, range(1)), UnitStore(tmp_path / "units", ()), OnRay())


def test_workers_that_cannot_begin_are_not_asked_for_again_and_again(
    do_all: DoAll, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __init__(self) -> None:
            raise OSError("no room to begin")

        def versions(self) -> None: ...

    monkeypatch.setattr("breastlens.work.on_ray._Worker", Broken)
    with pytest.raises(WorkerError, match=r"workers of the Ray cluster cannot begin: .*no room to begin"):
        do_all(counting(tmp_path, range(1)), UnitStore(tmp_path / "units", ()), OnRay())


def test_a_result_that_cannot_travel_is_told_as_it_is(do_all: DoAll, cluster: Any, tmp_path: Path) -> None:
    unit = Unit("a lock", content_key("lock"), threading.Lock, ())
    with pytest.raises(Exception, match=r"[Pp]ickle"):
        do_all([unit], UnitStore(tmp_path, ()), OnRay())


def test_nobody_is_asked_where_there_is_nothing_to_do() -> None:
    assert list(OnRay("127.0.0.1:9").do([])) == []


def test_a_node_that_is_lost_loses_nothing(cluster: Any, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    store = UnitStore(tmp_path / "units", ())
    ended = []
    for unit, failed in stream_units(counting(tmp_path, range(20), 0.3), store, OnRay()):
        ended.append(unit.title)
        assert failed is None
        if len(ended) == 4:
            cluster.remove_node(node, allow_graceful=False)
    assert sorted(ended) == sorted(f"square of {n}" for n in range(20))
    assert sorted(map(len, begun(tmp_path).values()))[-1] <= 2


def test_a_cluster_without_processors_is_told(
    do_all: DoAll, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of its nodes are lost, but for the head, which has none."""
    for node in [*cluster.worker_nodes]:
        cluster.remove_node(node, allow_graceful=False)
    monkeypatch.setattr("breastlens.work.on_ray.LONGEST_WAIT_S", 0.0)
    monkeypatch.setattr("breastlens.work.on_ray._LOOK_EVERY_S", 0.5)
    with pytest.raises(WorkerError, match="has had no processor to spare"):
        do_all(counting(tmp_path, range(1)), UnitStore(tmp_path / "units", ()), OnRay())


def test_a_cluster_answers_to_the_knock(cluster: Any) -> None:
    _knock(cluster.address)


def test_an_address_without_a_cluster_is_told(do_all: DoAll, tmp_path: Path) -> None:
    ray.shutdown()
    with pytest.raises(DataError, match=r"--on ray:127.0.0.1:9: no Ray cluster answers there"):
        do_all([Unit("cores", content_key(1), cores, ())], UnitStore(tmp_path, ()), OnRay("127.0.0.1:9"))


def test_an_address_where_something_else_listens_is_told_at_once(served: Any) -> None:
    ray.shutdown()
    address = served.address.removeprefix("http://")
    with pytest.raises(DataError, match=r"no Ray cluster answers there \(something else than Ray listens"):
        OnRay(address).require()
