"""Remote stores: HTTP as it is served, and what a store's failures come to."""

from __future__ import annotations

import errno
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from breastlens.errors import DataError, DecodeError, StoreError
from breastlens.inference.inputs import list_inputs
from breastlens.inference.stores import PAUSES_S, read_store

pytest.importorskip("aiohttp")
fsspec = pytest.importorskip("fsspec")

NAMES = (
    *(
        "a/1.png",
        "a-b.png",
        "a.png",
        "left and right/ü.png",
        "100 %.png",
        "what?.png",
        "c/deep/2.tif",
        "notes.txt",
    ),
    *(".hidden/3.png", "c/readme.md", "é.png", "zeta.png"),
)


@pytest.fixture
def images(served: Any) -> Any:
    for name in NAMES:
        path = served.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return served


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_page_of_links_is_listed_as_the_folder_is(images: Any, slash: str) -> None:
    found = [unquote(name) for name in list_inputs([images.address + slash])]
    here = [Path(name).relative_to(images.folder).as_posix() for name in list_inputs([str(images.folder)])]
    assert found == [f"{images.address}/{name}" for name in here]
    assert len(found) == 9


def test_each_address_of_a_page_is_that_of_its_file(images: Any) -> None:
    for address in list_inputs([images.address]):
        assert read_store(address, 1000).decode() == unquote(address).removeprefix(f"{images.address}/")


def test_links_to_elsewhere_are_not_followed(served: Any) -> None:
    links = (
        "a.png",
        "./b.png",
        "../up.png",
        "/up.png",
        "?C=N;O=D",
        "c.png?raw=1",
        "?to=/",
        "https://elsewhere/d.png",
        "%2e%2e/",
        ".%2E/up.png",
        "%2ehidden.png",
        "in%2Fe.png",
        "e%5Cf.png",
        "..%5Cup/",
        "g%00.png",
    )
    (served.folder / "in").mkdir()
    (served.folder / "in" / "index.html").write_text("".join(f'<a href="{link}">x</a>' for link in links))
    address = f"{served.address}/in"
    assert list(list_inputs([address])) == [f"{address}/a.png", f"{address}/b.png"]
    assert set(served.asked) <= {"/in", "/in/"}


def test_a_page_that_links_to_itself_comes_to_an_end(served: Any) -> None:
    served.everywhere = b'<a href="a.png">an image</a> <a href="more/">more</a>'
    with pytest.raises(DataError, match=r"/more/: expected no more than 50 folders in each other"):
        list(list_inputs([f"{served.address}/"]))
    assert len(served.asked) == 51


def test_what_has_moved_to_another_host_is_followed_and_names_stay_below_what_was_asked_for(
    images: Any,
) -> None:
    elsewhere = images.address.replace("127.0.0.1", "localhost")
    images.moved |= {f"/x{end}": f"{elsewhere}/c/deep/{end[1:]}" for end in ("", "/", "/2.tif")}
    assert list(list_inputs([f"{images.address}/x/"])) == [f"{images.address}/x/2.tif"]
    assert read_store(f"{images.address}/x/2.tif", 1000) == b"c/deep/2.tif"
    (images.folder / "c" / "deep" / "index.html").write_text(f'<a href="{elsewhere}/c/deep/2.tif">x</a>')
    with pytest.raises(DataError, match="no image file was found"):
        list(list_inputs([f"{images.address}/x/"]))


def test_an_address_that_cannot_be_is_told_at_once() -> None:
    with pytest.raises(DecodeError, match="the store refuses it"):
        read_store("http:///a.png", 10)


def test_files_that_are_given_by_their_address_are_taken_as_they_are(images: Any) -> None:
    given = [f"{images.address}/a.png?as=it+is", f"{images.address}/c/readme.md", f"{images.address}/a/1.png"]
    assert list(list_inputs(given)) == given
    assert images.asked == ["/c/readme.md"], "what ends as an image does is not asked for before it is read"
    assert read_store(given[0], 1000) == b"a.png"


def test_a_page_of_links_with_a_query_is_no_folder(images: Any) -> None:
    with pytest.raises(DataError, match=r"/a/\?C=N: expected a file, received a page of links"):
        list(list_inputs([f"{images.address}/a/?C=N"]))


def test_pages_are_asked_for_as_their_images_are_needed(images: Any) -> None:
    listed = list_inputs([f"{images.address}/"])
    assert [name.rpartition("/")[2] for name in islice(listed, 4)] == [
        "100%20%25.png",
        "a-b.png",
        "a.png",
        "1.png",
    ]
    assert set(images.asked) == {"/", "/a/"}


def test_no_more_is_read_than_is_asked_for(served: Any) -> None:
    content = bytes(range(256)) * 50_000  # more than comes at a time
    (served.folder / "large.png").write_bytes(content)
    assert read_store(f"{served.address}/large.png", len(content) + 1) == content
    assert read_store(f"{served.address}/large.png", 70_000) == content[:70_000]
    assert served.asked == ["/large.png"] * 2


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_is_busy_for_a_moment_is_asked_again(images: Any) -> None:
    for path in ("/", "/a/", "/a.png"):
        images.failing[path] = len(PAUSES_S)
    assert len(list(list_inputs([f"{images.address}/"]))) == 9
    assert read_store(f"{images.address}/a.png", 1000) == b"a.png"
    assert images.asked.count("/a.png") == len(PAUSES_S) + 1


@pytest.mark.usefixtures("no_pauses")
def test_a_server_that_stays_busy_is_told(images: Any) -> None:
    images.failing |= {"/a.png": 100, "/a/": 100}
    with pytest.raises(StoreError, match=r"^http://\S+/a.png: the store failed 4 times \(503, .*\)$"):
        read_store(f"{images.address}/a.png", 1000)
    with pytest.raises(StoreError, match=r"/a/: the store failed 4 times"):
        list(list_inputs([f"{images.address}/"]))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "access is denied"),
        (404, "it is not there"),
        *((status, f"the store refuses it .{status}") for status in (400, 405, 410, 416, 451)),
    ],
)
def test_what_is_refused_is_not_asked_for_again(images: Any, status: int, said: str) -> None:
    images.failing |= {"/a.png": 100, "/c/": 100}
    images.status = status
    with pytest.raises(DecodeError, match=f"a.png: it cannot be read: {said}"):
        read_store(f"{images.address}/a.png", 1000)
    with pytest.raises(DataError, match=f"/c/ cannot be listed: {said}"):
        list(list_inputs([f"{images.address}/c/"]))
    assert images.asked == ["/a.png", "/c/"]


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("status", [408, 425, 429, 500])
def test_what_may_pass_is_asked_for_again(images: Any, status: int) -> None:
    images.failing["/a.png"] = len(PAUSES_S)
    images.status = status
    assert read_store(f"{images.address}/a.png", 1000) == b"a.png"


@pytest.mark.parametrize(("status", "path"), [(401, "/a.png"), (403, "/a.png?signature=x")])
def test_where_nobody_is_let_in_the_store_has_failed_and_is_not_asked_again(
    images: Any, status: int, path: str
) -> None:
    images.failing[path] = 100
    images.status = status
    with pytest.raises(StoreError, match=f"the store lets nobody in, or not any more .{status}"):
        read_store(images.address + path, 1000)
    assert images.asked == [path]


class Failing:
    """Fails a few times before it goes on as it did."""

    def __init__(self, error: Exception, times: int, then: Any) -> None:
        self.error, self.left, self.then, self.calls = error, times, then, 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls <= self.left:
            raise self.error
        return self.then(*arguments, **options)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Failing]:
    """Lets a store fail whenever a file is read, and counts."""

    def set_failing(error: Exception) -> Failing:
        asked = Failing(error, 9, None)
        monkeypatch.setattr(fsspec.filesystem("file"), "open", asked)
        return asked

    return set_failing


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "TimeoutError"),
        (ConnectionResetError("reset"), "reset"),
        (OSError(errno.EBUSY, "slow down"), "slow down"),
        (type("OfItsOwn", (Exception,), {})("odd"), "odd"),
    ],
)
@pytest.mark.parametrize(("method", "times"), [("open", 3), ("ls", 3), ("open", 4), ("ls", 4)])
def test_whatever_may_pass_is_waited_for_a_little_longer_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str, method: str, times: int
) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    system, slept = fsspec.filesystem("file"), list[float]()
    failing = Failing(error, times, getattr(system, method))
    monkeypatch.setattr(system, method, failing)
    monkeypatch.setattr("time.sleep", slept.append)

    def ask() -> object:
        if method == "open":
            return read_store(f"file://{tmp_path}/a.png", 10)
        return list(list_inputs([f"file://{tmp_path}"]))

    if times == 4:
        with pytest.raises(StoreError, match=f"failed 4 times .*{said}"):
            ask()
    else:
        assert ask() in (b"x", [f"file://{tmp_path}/a.png"])
    assert tuple(slept) == PAUSES_S
    assert failing.calls == 4


@pytest.mark.parametrize(
    ("error", "said"),
    [(FileNotFoundError(), "it is not there"), (PermissionError("no"), r"access is denied \(no\)")],
)
def test_what_stays_is_not_waited_for(failing: Callable[..., Failing], error: Exception, said: str) -> None:
    asked = failing(error)
    with pytest.raises(DecodeError, match=f"it cannot be read: {said}"):
        read_store("file:///a.png", 10)
    assert asked.calls == 1


@pytest.mark.parametrize("error", [TypeError, AttributeError, NameError, RecursionError, MemoryError])
def test_what_is_wrong_with_a_program_is_no_failure_of_a_store(
    failing: Callable[..., Failing], error: type[Exception]
) -> None:
    asked = failing(error("ours"))
    with pytest.raises(error, match="ours"):
        read_store("file:///a.png", 10)
    assert asked.calls == 1


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    ("word", "status", "kind", "calls"),
    [
        ("ExpiredToken", 400, StoreError, 1),
        ("RequestTimeTooSkewed", 403, StoreError, 1),
        ("AccessDenied", 403, DecodeError, 1),
        ("InvalidRange", 416, DecodeError, 1),
        ("RequestTimeout", 400, StoreError, 4),
        ("SlowDown", 503, StoreError, 4),
    ],
)
def test_what_s3_says_is_understood(
    failing: Callable[..., Failing], word: str, status: int, kind: type[Exception], calls: int
) -> None:
    errors = pytest.importorskip("s3fs.errors")
    from botocore.exceptions import ClientError

    answer = {"Error": {"Code": word, "Message": "so"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    asked = failing(errors.translate_boto_error(ClientError(answer, "GetObject")))
    with pytest.raises(kind, match=r"so\)"):
        read_store("file:///a.png", 10)
    assert asked.calls == calls
