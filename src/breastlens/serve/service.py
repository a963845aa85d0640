"""The work of the service: uploads through decoders and networks to answers, within limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from breastlens.errors import DecodeError
from breastlens.inference.predictor import Prediction
from breastlens.machine import usable_cores
from breastlens.serve.answers import answer_image, answer_patients, answer_picture, answer_problem
from breastlens.serve.decoding import Decoded, DecoderLostError, DecoderPool
from breastlens.serve.limits import ServiceLimits
from breastlens.serve.measures import Measures
from breastlens.serve.models import ModelTable, Row, ServedModel
from breastlens.serve.pictures import encode_layer
from breastlens.serve.preview import PREVIEW_PX
from breastlens.serve.problems import ProblemError
from breastlens.serve.uploads import Upload, UploadedFile

_REFRESH_S = 2.0
_RETRY_AFTER_S = "1"


class Gate:
    """Lets so many requests and bytes in and no more, so that the service never grows with what is asked of it."""

    def __init__(self, limits: ServiceLimits, measures: Measures) -> None:
        """Take the limits, and where to count."""
        self._limits, self._measures = limits, measures
        self.requests = 0
        self.held_bytes = 0

    @contextmanager
    def enter(self) -> Iterator[Ticket]:
        """Let one request in while the block lasts.

        Raises:
            ProblemError: There are too many already.
        """
        if self.requests >= self._limits.waiting:
            raise self.busy("requests")
        self.requests += 1
        self._measures.in_flight.set(self.requests)
        ticket = Ticket(self)
        try:
            yield ticket
        finally:
            self.requests -= 1
            self.held_bytes -= ticket.held_bytes
            self._measures.in_flight.set(self.requests)

    def busy(self, reason: str) -> ProblemError:
        """The problem of a request that comes when there is no room."""
        self._measures.refused.labels(reason).inc()
        return ProblemError(
            "busy",
            "More is waiting than the service takes: ask again in a moment.",
            headers={"retry-after": _RETRY_AFTER_S},
        )

    def has_room(self, size_bytes: int) -> bool:
        """Whether so many bytes more may be held."""
        return self.held_bytes + size_bytes <= self._limits.held_bytes


@dataclass
class Ticket:
    """One request that was let in, and the bytes it holds."""

    gate: Gate
    held_bytes: int = 0

    def hold(self, size_bytes: int) -> None:
        """Hold more bytes until the request has ended.

        Raises:
            ProblemError: There is no room for them.
        """
        if not self.gate.has_room(size_bytes):
            raise self.gate.busy("bytes")
        self.held_bytes += size_bytes
        self.gate.held_bytes += size_bytes


@dataclass(frozen=True)
class Asked:
    """What a client wants beside the scores.

    Attributes:
        pictures: The image itself and what influenced its score.
        similar: So many of the most similar training images.
    """

    pictures: bool = False
    similar: int = 0


class Service:
    """Models, decoders and threads; an asynchronous context in which requests can be answered."""

    def __init__(self, models: ModelTable, limits: ServiceLimits, *, workers: int | None = None) -> None:
        """Nothing is started yet.

        Args:
            models: Loaded.
            limits: What may be asked.
            workers: Decoders and threads; None for one of each a processor core.
        """
        count = workers or usable_cores()
        self.models, self.limits, self.measures = models, limits, Measures()
        self.gate = Gate(limits, self.measures)
        self.ready = False
        self._decoders = DecoderPool(count, limits, on_lost=self.measures.decoders_lost.inc)
        # While one waits for its decoder another keeps the network busy.
        self._threads = ThreadPoolExecutor(2 * count, thread_name_prefix="breastlens-answer")
        self._at_once = 2 * count
        self._refreshing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start decoders."""
        await asyncio.to_thread(self._decoders.start)
        self._refreshing = asyncio.create_task(self._refresh())
        self.ready = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End decoders and threads."""
        self.ready = False
        if self._refreshing is not None:
            self._refreshing.cancel()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._decoders.stop()

    async def _refresh(self) -> None:
        """Look every few seconds whether a model was replaced."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            for name in await self.models.refresh():
                self.measures.reloads.labels(name).inc()

    async def answer(self, model: ServedModel, upload: Upload, asked: Asked) -> dict[str, Any]:
        """Answer all files of a request; what cannot be read gets its problem and disturbs no other.

        Returns:
            ``predictions`` and ``patients`` of a ``PredictionsAnswer``.
        """
        room = asyncio.Semaphore(self._at_once)

        async def answer_one(index: int, file: UploadedFile) -> tuple[dict[str, Any], Prediction]:
            async with room:
                return await self._answer_file(model, index, file, asked)

        both = [answer_one(index, file) for index, file in enumerate(upload.files)]
        answered = [await both[0]] if len(both) == 1 else await asyncio.gather(*both)
        return {
            "predictions": [answer for answer, _ in answered],
            "patients": answer_patients(model, [one for _, one in answered], upload.patient_ids),
        }

    async def _answer_file(
        self, model: ServedModel, index: int, file: UploadedFile, asked: Asked
    ) -> tuple[dict[str, Any], Prediction]:
        """The answer to one file, and what it rests on; both in a thread."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._compute, model, index, file, asked
        )

    def _compute(
        self, model: ServedModel, index: int, file: UploadedFile, asked: Asked
    ) -> tuple[dict[str, Any], Prediction]:
        count, phases = self.measures.images, self.measures.phase_seconds
        begun = time.perf_counter()
        try:
            decoded = self._decoders.decode(
                file.data,
                file.suffix,
                model.bundle.card.image,
                preview_px=PREVIEW_PX if asked.pictures else 0,
            )
        except DecodeError as error:
            outcome = "lost" if isinstance(error, DecoderLostError) else "unreadable"
            count.labels(model.name, outcome).inc()
            problem = ProblemError("unreadable-image", _sentence(error.reason)).describe()
            nothing = Prediction("", y_score=None, y_pred=None, category=None, error=error.reason)
            return answer_problem(index, problem), nothing
        finally:
            file.data.clear()  # not needed any more
        middle = time.perf_counter()
        row = model.compute(decoded.image.pixels)
        prediction = model.conclude(decoded.image, row, similar=asked.similar)
        picture = _draw(model, decoded, row) if asked.pictures else None
        phases.labels("decode").observe(middle - begun)
        phases.labels("network").observe(time.perf_counter() - middle)
        count.labels(model.name, "scored").inc()
        answer = answer_image(
            index, prediction, format_=decoded.format, frame=decoded.image.frame, picture=picture
        )
        return answer, prediction


def _draw(model: ServedModel, decoded: Decoded, row: Row) -> dict[str, Any]:
    """The picture of an image and of its map."""
    explanation = model.explain(decoded.image, row)
    if explanation is None:
        return answer_picture(decoded.preview, None, None, None)
    layer, limit = encode_layer(explanation)
    return answer_picture(decoded.preview, layer, limit, explanation.constant)


def _sentence(reason: str) -> str:
    """A reason as a sentence: "it is empty" becomes "It is empty."."""
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}."
