"""Images in a store that speaks S3: listed there, read there by each worker, and scored as files are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

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


@pytest.mark.parametrize("place", ["here", "processes:2"])
def test_images_of_a_bucket_are_scored_as_files_are(
    command: Callable[..., Any],
    holdout_run: Run,
    awkward_dir: Path,
    bucket: str,
    tmp_path: Path,
    place: str,
) -> None:
    import fsspec

    fsspec.filesystem("s3").put(f"{awkward_dir}/sick", f"breast/{place}/", recursive=True)
    fsspec.filesystem("s3").pipe(f"breast/{place}/sick/notes.md", b"not an image")
    out, here = tmp_path / "there.csv", tmp_path / "here.csv"
    done = command("predict", holdout_run.directory, f"{bucket}/{place}", "--out", out, "--on", place)
    assert done.code == 0, done.err
    assert command("predict", holdout_run.directory, awkward_dir / "sick", "--out", here).code == 0
    there = pd.read_csv(out).assign(path=lambda table: table["path"].str.removeprefix(f"{bucket}/{place}/"))
    wanted = pd.read_csv(here).assign(path=lambda table: table["path"].str.removeprefix(f"{awkward_dir}/"))
    pd.testing.assert_frame_equal(there, wanted)


def test_a_bucket_that_is_not_there_is_told_in_a_line(
    command: Callable[..., Any], holdout_run: Run, bucket: str, tmp_path: Path
) -> None:
    done = command("predict", holdout_run.directory, "s3://nowhere/at/all", "--out", tmp_path / "x.csv")
    assert done.code == 2
    assert "Error: " in done.err
    assert "s3://nowhere/at/all" in done.err
    assert list(tmp_path.iterdir()) == []
