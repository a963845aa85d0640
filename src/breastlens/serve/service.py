"""The service: models and threads that answer requests, within limits."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from breastlens.serve.answers import answer_patients
from breastlens.serve.limits import MIB, ServiceLimits
from breastlens.serve.measures import Measures
from breastlens.serve.models import ModelTable, ServedModel
from breastlens.serve.pipeline import Answered, Asked, Pipeline, refuse_file
from breastlens.serve.problems import ProblemError
from breastlens.serve.uploads import Upload, UploadedFile

logger = logging.getLogger(__name__)

_AT_ONCE = 4
_KEPT = 8
"""One part in so many is kept for clients that have one request here."""
_REFRESH_S = 2.0
_RETRY_AFTER_S = "1"


class Gate:
    """Lets so many requests and bytes in and no more, so that the service never grows with what is asked of it.

    The last part of what there is of each is kept for clients that have one request here, so that many requests of one
    leave room for another.
    """

    def __init__(self, limits: ServiceLimits, measures: Measures) -> None:
        """Take the limits, and where to count."""
        self._limits, self._measures = limits, measures
        self.requests = self.working = 0
        self.held_bytes = 0
        self._requests_of: Counter[str] = Counter()

    @contextmanager
    def enter(self, client: str) -> Iterator[Ticket]:
        """Let one request in while the block lasts.

        Args:
            client: Whose it is.

        Raises:
            ProblemError: There are too many already.
        """
        ticket = Ticket(self, client)
        self._requests_of[client] += 1
        self.requests += 1
        try:
            if self.requests > self._share(client, self._limits.receiving):
                raise self.busy("requests")
            self._measures.in_flight.set(self.requests)
            yield ticket
        finally:
            self.requests -= 1
            self.working -= ticket.is_worked_on
            self.held_bytes -= ticket.held_bytes
            self._requests_of[client] -= 1
            if not self._requests_of[client]:
                del self._requests_of[client]
            self._measures.in_flight.set(self.requests)

    def has_a_place(self, client: str) -> bool:
        """Whether one more request may be worked on."""
        return self.working < self._share(client, self._limits.waiting)

    def busy(self, reason: str) -> ProblemError:
        """The problem of a request that comes when there is no room."""
        self._measures.refused.labels(reason).inc()
        return ProblemError(
            "busy",
            "More is waiting than the service takes: ask again in a moment.",
            headers={"retry-after": _RETRY_AFTER_S},
        )

    def has_room(self, client: str, size_bytes: int) -> bool:
        """Whether so many bytes more may be held."""
        return self.held_bytes + size_bytes <= self._share(client, self._limits.held_bytes)

    def _share(self, client: str, limit: int) -> int:
        """How far a limit goes for a client that has entered."""
        return limit if self._requests_of[client] == 1 else limit - limit // _KEPT


@dataclass
class Ticket:
    """One request that was let in, whose it is, and the bytes it holds."""

    gate: Gate
    client: str
    held_bytes: int = 0
    is_worked_on: bool = False

    def require_a_place(self) -> None:
        """See that it could be worked on, before any of it is read.

        Raises:
            ProblemError: It could not.
        """
        if not self.gate.has_a_place(self.client):
            raise self.gate.busy("requests")

    def require_room(self, size_bytes: int) -> None:
        """See that so many bytes could be held, before any of them is read.

        Raises:
            ProblemError: They could not.
        """
        if not self.gate.has_room(self.client, size_bytes):
            raise self.gate.busy("bytes")

    def work(self) -> None:
        """Take a place among those that are worked on, once all has arrived.

        Raises:
            ProblemError: There is none.
        """
        self.require_a_place()
        self.is_worked_on = True
        self.gate.working += 1

    def hold(self, size_bytes: int) -> None:
        """Hold more bytes until the request has ended.

        Raises:
            ProblemError: There is no room for them.
        """
        self.require_room(size_bytes)
        self.held_bytes += size_bytes
        self.gate.held_bytes += size_bytes


class Service:
    """Models and a pipeline; an asynchronous context in which requests can be answered."""

    def __init__(
        self, models: ModelTable, pipeline: Pipeline, limits: ServiceLimits, measures: Measures
    ) -> None:
        """All begins with the context.

        Args:
            models: What is served.
            pipeline: What answers; it ends with the context.
            limits: What may be asked.
            measures: Where to count.
        """
        self.models, self.limits, self.measures = models, limits, measures
        self.gate = Gate(limits, measures)
        self.ready = False
        self._pipeline = pipeline
        self._refreshing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Wait for decoders, start threads."""
        await asyncio.to_thread(self._pipeline.start)
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
        await asyncio.to_thread(self._pipeline.stop)

    async def _refresh(self) -> None:
        """Look every few seconds whether a model was replaced."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            try:
                for name in await self.models.refresh():
                    self.measures.reloads.labels(name).inc()
            except Exception as error:  # noqa: BLE001  the old models go on
                logger.warning("looking for new versions failed: %s", type(error).__name__)

    async def answer(self, model: ServedModel, upload: Upload, asked: Asked, client: str) -> dict[str, Any]:
        """Answer all files of a request; what cannot be read gets its problem and disturbs no other.

        Args:
            model: That is asked.
            upload: What was sent.
            asked: What is wanted.
            client: Whose it is.

        Returns:
            ``predictions`` and ``patients`` of a ``PredictionsAnswer``.
        """
        if len(upload.files) == 1:
            answered = [await self._answer_file(model, 0, upload.files[0], asked, client)]
        else:
            room = asyncio.Semaphore(_AT_ONCE)  # so that a client's large request leaves room for its others

            async def answer_one(index: int, file: UploadedFile) -> Answered:
                async with room:
                    return await self._answer_file(model, index, file, asked, client)

            answered = await asyncio.gather(
                *(answer_one(index, file) for index, file in enumerate(upload.files))
            )
        return {
            "predictions": [answer for answer, _ in answered],
            "patients": answer_patients(model, [one for _, one in answered], upload.patient_ids),
        }

    async def _answer_file(
        self, model: ServedModel, index: int, file: UploadedFile, asked: Asked, client: str
    ) -> Answered:
        if file.is_too_large:
            most = self.limits.reading.file_bytes / MIB
            return refuse_file(index, ProblemError("too-large", f"One file may have {most:g} MiB."))
        return await self._pipeline.submit(model, index, file, asked, client)
