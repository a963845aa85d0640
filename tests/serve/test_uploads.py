"""Multipart bodies: what arrives is what was sent, however it is cut, and nothing beyond the limits is kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breastlens.config import ReadingLimits
from breastlens.serve.limits import ServiceLimits
from breastlens.serve.problems import ProblemError
from breastlens.serve.uploads import Upload, read_upload

SMALL = ServiceLimits(body_bytes=5000, files=3, reading=ReadingLimits(file_bytes=1000))


def form(files: Sequence[tuple[str, bytes]], patients: Sequence[str] = ()) -> tuple[bytes, str]:
    request = httpx.Request(
        "POST",
        "http://x",
        files=[("files", file) for file in files],
        data={"patient_id": list(patients)} if patients else None,
    )
    return request.read(), request.headers["content-type"]


def read(body: bytes, kind: str, limits: ServiceLimits = SMALL, piece: int = 10**9) -> Upload:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), piece):
            yield body[start : start + piece]

    return asyncio.run(read_upload(pieces(), kind, limits))


@given(
    st.lists(st.binary(max_size=400), min_size=1, max_size=3),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=60),
    st.integers(1, 700),
)
@settings(max_examples=150, deadline=None)
def test_content_and_patient_arrive_whole_however_the_body_is_cut(
    contents: list[bytes], patient: str, piece: int
) -> None:
    body, kind = form([(f"{place}.png", content) for place, content in enumerate(contents)], [patient])
    upload = read(body, kind, piece=piece)
    assert [bytes(file.data) for file in upload.files] == contents
    assert upload.patient_ids == [patient]


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.PNG", ".png"),
        ("../../etc/passwd.txt", ".txt"),
        ("C:\\images\\x.dcm", ".dcm"),
        ("no suffix", ""),
        ("a.png.exe", ""),
        ("name of a person.jpeg", ".jpeg"),
        (".npy", ""),
        ("ä.tiff", ".tiff"),
    ],
)
def test_of_a_name_nothing_but_a_known_suffix_is_kept(name: str, suffix: str) -> None:
    [file] = read(*form([(name, b"x")])).files
    assert file.suffix == suffix
    assert vars(file).keys() == {"data", "suffix", "is_too_large"}


@pytest.mark.parametrize(
    ("files", "patients", "status", "words"),
    [
        ([("a.png", b"x" * 999)] * 4, [], 413, "3 files"),
        ([("a.png", b"")] * 4, [], 413, "3 files"),
        ([("a.png", b"x" * 900)] * 3, ["p" * 257], 422, "256 letters"),
        ([("a.png", b"x" * 900)] * 3, ["é" * 257], 422, "256 letters"),
        ([("a.png", b"x" * 900)] * 3, ["p" * 1025], 422, "256 letters"),
        ([("a.png", b"x")] * 3, ["a", "b"], 422, "3 files came with 2"),
    ],
)
def test_what_exceeds_a_limit_is_refused(
    files: list[tuple[str, bytes]], patients: list[str], status: int, words: str
) -> None:
    with pytest.raises(ProblemError, match=words) as refused:
        read(*form(files, patients))
    assert refused.value.status == status


def test_letters_of_a_patient_are_counted_and_not_their_bytes() -> None:
    patient = "\U0001f9d1" * 256
    assert read(*form([("a.png", b"x")], [patient])).patient_ids == [patient]


def test_of_a_file_that_is_too_large_nothing_is_kept_and_the_others_are_whole() -> None:
    upload = read(*form([("a.png", b"x" * 1000), ("b.png", b"y" * 1001), ("c.png", b"z" * 10)]), piece=300)
    assert [file.is_too_large for file in upload.files] == [False, True, False]
    assert [bytes(file.data) for file in upload.files] == [b"x" * 1000, b"", b"z" * 10]


def test_a_body_that_says_no_length_is_cut_off_at_the_limit() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n'
        while True:
            taken += 1000
            yield b"x" * 1000

    limits = SMALL.model_copy(update={"reading": ReadingLimits(file_bytes=10**9)})
    with pytest.raises(ProblemError, match="One request may have") as refused:
        asyncio.run(read_upload(endless(), "multipart/form-data; boundary=b", limits))
    assert refused.value.status == 413
    assert taken <= 6000


def test_a_body_that_does_not_arrive_in_time_is_given_up() -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield b"--b\r\n"
        await asyncio.sleep(600)

    limits = SMALL.model_copy(update={"receive_s": 0.05})
    with pytest.raises(ProblemError, match=r"within 0\.05 s") as refused:
        asyncio.run(read_upload(silent(), "multipart/form-data; boundary=b", limits))
    assert refused.value.status == 408


@pytest.mark.parametrize("left", [1, 20, 60, -3])
def test_a_body_that_is_cut_short_is_refused(left: int) -> None:
    body, kind = form([("a.png", b"x" * 50)])
    with pytest.raises(ProblemError) as refused:
        read(body[:left], kind)
    assert refused.value.status in (400, 422)


@given(st.binary(max_size=600), st.integers(1, 100))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_form_or_a_problem(noise: bytes, piece: int) -> None:
    for body in (
        noise,
        b"--b\r\n" + noise,
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="' + noise,
    ):
        with contextlib.suppress(ProblemError):  # nothing else may be raised
            read(body, "multipart/form-data; boundary=b", piece=piece)
