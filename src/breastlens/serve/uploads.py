"""Multipart uploads, held in memory and within limits; names never go further than their suffix."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from breastlens.imaging.decode import IMAGE_SUFFIXES
from breastlens.serve.limits import MIB, ServiceLimits
from breastlens.serve.problems import ProblemError

_MOST_ID_LETTERS = 256
_MOST_ID_BYTES = 4 * _MOST_ID_LETTERS  # in UTF-8


@dataclass(frozen=True)
class UploadedFile:
    """One file of a request.

    Attributes:
        data: Its content.
        suffix: Of the name it was sent under, in lower case, if that is one of an image; else empty. Nothing else of
            the name is kept.
        is_too_large: Whether it has more bytes than one file may have; then nothing of it is kept.
    """

    data: bytearray
    suffix: str
    is_too_large: bool = False


@dataclass
class Upload:
    """What a request brought.

    Attributes:
        files: In order.
        patient_ids: One a file, or one for all, or none.
    """

    files: list[UploadedFile] = field(default_factory=list)
    patient_ids: list[str] = field(default_factory=list)


@dataclass
class _Part:
    name: str = ""
    suffix: str = ""
    is_file: bool = False
    data: bytearray = field(default_factory=bytearray)
    is_too_large: bool = False


async def read_upload(
    chunks: AsyncIterator[bytes],
    content_type: str,
    limits: ServiceLimits,
    *,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> Upload:
    """Take a multipart body apart as it arrives.

    Args:
        chunks: The body.
        content_type: The header of that name.
        limits: For bytes, files and time.
        on_bytes: Told how many bytes came, before they are kept; it may refuse them.

    Raises:
        ProblemError: The body is no multipart form, too large, too slow, damaged, or has other parts than ``files`` and
            ``patient_id``.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise ProblemError(
            "unsupported-media-type", "Send the images as multipart/form-data, in fields called files."
        )
    reader = _Reader(limits)
    total = 0
    try:
        parser = MultipartParser(options[b"boundary"], reader.callbacks())
        async with asyncio.timeout(limits.receive_s):
            async for chunk in chunks:
                total += len(chunk)
                if total > limits.body_bytes:
                    raise too_large(limits)
                on_bytes(len(chunk))
                parser.write(chunk)
        parser.finalize()
    except TimeoutError as error:
        raise ProblemError(
            "timeout", f"The whole request has to arrive within {limits.receive_s:g} s."
        ) from error
    except (FormParserError, ValueError) as error:
        raise ProblemError("bad-request", "The multipart body is damaged.") from error
    return reader.finish()


def too_large(limits: ServiceLimits) -> ProblemError:
    """The problem of a body beyond its limit."""
    return ProblemError(
        "too-large",
        f"One request may have {limits.body_bytes / MIB:g} MiB: send the images in several.",
    )


class _Reader:
    """Gathers the parts of one form."""

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self._upload = Upload()
        self._part = _Part()
        self._header_name, self._header_value = bytearray(), bytearray()
        self._whole = False

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
            "on_header_end": self._take_header,
            "on_headers_finished": self._check_part,
            "on_part_data": self._add,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def finish(self) -> Upload:
        """The form, once the body has ended.

        Raises:
            ProblemError: It was cut short, or does not hold together.
        """
        if not self._whole:
            raise ProblemError("bad-request", "The multipart body ends too early.")
        upload = self._upload
        if not upload.files:
            raise ProblemError("invalid", "Send at least one image, in a field called files.")
        if len(upload.patient_ids) not in (0, 1, len(upload.files)):
            raise ProblemError(
                "invalid",
                f"Give one patient_id for all files or one for each: {len(upload.files)} files came with "
                f"{len(upload.patient_ids)}.",
            )
        return upload

    def _begin(self) -> None:
        self._part = _Part()

    def _take_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._header_value))
            self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
            self._part.is_file = b"filename" in options
            self._part.suffix = _known_suffix(options.get(b"filename", b""))
        self._header_name.clear()
        self._header_value.clear()

    def _check_part(self) -> None:
        part = self._part
        if part.name == "files":
            if not part.is_file:
                raise ProblemError("invalid", "The field files has to hold files.")
            if len(self._upload.files) == self._limits.files:
                raise ProblemError(
                    "too-large", f"One request may have {self._limits.files} files: send them in several."
                )
        elif part.name != "patient_id" or part.is_file:
            raise ProblemError("invalid", "Expected the fields files and patient_id, and no other.")
        elif len(self._upload.patient_ids) == self._limits.files:
            raise ProblemError("invalid", "There are more patient_id than a request may have files.")

    def _add(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        most = self._limits.reading.file_bytes if part.is_file else _MOST_ID_BYTES
        if len(part.data) + end - start > most:
            if not part.is_file:
                raise _too_long()
            part.is_too_large = True  # the others of the request are none the worse for it
            part.data.clear()
        if not part.is_too_large:
            part.data += memoryview(data)[start:end]

    def _end(self) -> None:
        part = self._part
        if part.is_file:
            self._upload.files.append(UploadedFile(part.data, part.suffix, part.is_too_large))
            return
        try:
            patient_id = part.data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ProblemError("invalid", "A patient_id has to be text in UTF-8.") from error
        if len(patient_id) > _MOST_ID_LETTERS:
            raise _too_long()
        self._upload.patient_ids.append(patient_id)

    def _finish(self) -> None:
        self._whole = True


def _too_long() -> ProblemError:
    return ProblemError("invalid", f"A patient_id may have {_MOST_ID_LETTERS} letters.")


def _known_suffix(name: bytes) -> str:
    """The suffix of a name if it is one of an image; anything else a client may have put there is dropped."""
    base = name.decode("utf-8", "replace").replace("\\", "/")
    suffix = PurePosixPath(base).suffix.lower()
    return suffix if suffix in IMAGE_SUFFIXES else ""
