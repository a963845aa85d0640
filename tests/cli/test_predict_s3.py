"""Images in a store that speaks S3: listed there, read there by each worker, and scored as files are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from breastlens.inference.inputs import list_inputs
from breastlens.runs.directory import Run

pytest.importorskip("s3fs")
server = pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket on a server of this machine, which the environment says how to reach."""
    import fsspec

    with pytest.MonkeyPatch.context() as patch:
        running = server.ThreadedMotoServer(port=0)
        running.start()
        host, port = running.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host.replace('0.0.0.0', '127.0.0.1')}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").mkdir("breast")
        yield "s3://breast"
        running.stop()


@pytest.mark.parametrize("place", ["here", "processes:2", pytest.param("ray", marks=pytest.mark.slow)])
def test_images_of_a_bucket_are_scored_as_files_are(
    request: pytest.FixtureRequest,
    command: Callable[..., Any],
    holdout_run: Run,
    awkward_dir: Path,
    bucket: str,
    tmp_path: Path,
    place: str,
) -> None:
    import fsspec

    if place == "ray":
        request.getfixturevalue("ray_starts")

    fsspec.filesystem("s3").put(f"{awkward_dir}/sick", f"breast/{place}/", recursive=True)
    fsspec.filesystem("s3").pipe(f"breast/{place}/sick/notes.md", b"not an image")
    out, here = tmp_path / "there.csv", tmp_path / "here.csv"
    done = command("predict", holdout_run.directory, f"{bucket}/{place}", "--out", out, "--on", place)
    assert done.code == 0, done.err
    assert command("predict", holdout_run.directory, awkward_dir / "sick", "--out", here).code == 0
    there = pd.read_csv(out).assign(path=lambda table: table["path"].str.removeprefix(f"{bucket}/{place}/"))
    wanted = pd.read_csv(here).assign(path=lambda table: table["path"].str.removeprefix(f"{awkward_dir}/"))
    pd.testing.assert_frame_equal(there, wanted)


def test_a_bucket_is_listed_as_a_folder_is_one_folder_after_the_other(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    system = fsspec.filesystem("s3")
    names = (
        "b/2.png",
        "b/deep/1.png",
        "b-c.png",
        "b.png",
        "a/x/y.tif",
        "a.png",
        "z.png",
        "b/.h/3.png",
        "b/m.txt",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
        system.pipe(f"breast/nested/{name}", b"x")
    system.touch("breast/nested/b/")  # as some programs mark a folder
    listed: list[str] = []
    ls = system.ls
    monkeypatch.setattr(system, "ls", lambda path, **how: listed.append(path) or ls(path, **how))
    found = list_inputs([f"{bucket}/nested"])
    here = [Path(name).relative_to(tmp_path).as_posix() for name in list_inputs([str(tmp_path)])]
    wanted = [f"{bucket}/nested/{name}" for name in here]
    assert next(found) == wanted[0] == f"{bucket}/nested/a.png"
    assert listed == ["breast/nested"]
    assert next(found) == wanted[1] == f"{bucket}/nested/a/x/y.tif"
    assert listed == [f"breast/nested{each}" for each in ("", "/a", "/a/x")]
    assert [*wanted[:2], *found] == wanted
    assert listed == [f"breast/nested{each}" for each in ("", "/a", "/a/x", "/b", "/b/deep")]
    assert len(system.dircache) == 1


def test_a_bucket_that_is_not_there_is_told_in_a_line(
    command: Callable[..., Any], holdout_run: Run, bucket: str, tmp_path: Path
) -> None:
    done = command("predict", holdout_run.directory, "s3://nowhere/at/all", "--out", tmp_path / "x.csv")
    assert done.code == 2
    assert "Error: " in done.err
    assert "s3://nowhere/at/all cannot be listed: it is not there" in done.err
    assert list(tmp_path.iterdir()) == []
