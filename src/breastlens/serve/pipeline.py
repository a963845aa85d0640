"""From uploaded files to answers: threads that each drive a decoder, and threads that drive the networks.

What waits for a network is taken together, since the network's weights and what novelty is measured from are then
fetched from memory once for many images. Before decoders and networks clients take turns.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from breastlens.errors import DecodeError
from breastlens.inference.predictor import Prediction
from breastlens.serve.answers import answer_image, answer_picture, answer_problem
from breastlens.serve.decoding import Decoded, Decoder, DecoderLostError
from breastlens.serve.limits import ServiceLimits
from breastlens.serve.measures import Measures
from breastlens.serve.models import Row, ServedModel
from breastlens.serve.pictures import encode_layer
from breastlens.serve.preview import PREVIEW_PX
from breastlens.serve.problems import ProblemError
from breastlens.serve.turns import Turns
from breastlens.serve.uploads import UploadedFile

logger = logging.getLogger(__name__)

_TOGETHER = 16
_END_S = 10.0
_TOO_LATE = "It waited too long, or the service ends: ask again in a moment."
_NETWORK_THREADS = 2
"""While one says what follows from what its network gave, the other keeps the processor's cores busy."""
Answered = tuple[dict[str, Any], Prediction]
"""An ``ImageAnswer``, and what it rests on."""


@dataclass(frozen=True)
class Asked:
    """What a client wants beside the scores.

    Attributes:
        pictures: The image itself and what influenced its score.
        similar: So many of the most similar training images.
    """

    pictures: bool = False
    similar: int = 0


@dataclass(frozen=True, eq=False)
class _Job:
    """One file on its way.

    Attributes:
        model: That is asked.
        index: The file's place in its request.
        file: What was sent; emptied once it is decoded.
        asked: What is wanted.
        client: Whose it is.
        tell: Takes the answer, or the error of this program.
        begun: When it came, in seconds of ``time.perf_counter``.
    """

    model: ServedModel
    index: int
    file: UploadedFile
    asked: Asked
    client: str
    tell: Callable[[Answered | Exception], None]
    begun: float


class Pipeline:
    """The threads, and what waits for them."""

    def __init__(self, count: int, limits: ServiceLimits, measures: Measures) -> None:
        """Begin to start decoders, which takes them some tenths of a second, and go on meanwhile.

        Args:
            count: Decoders, and threads that drive networks.
            limits: What one image may cost.
            measures: Where to count.
        """
        self._measures, self._limits = measures, limits
        self._ending = False
        self._arrived: Turns[_Job] = Turns()
        self._decoded: Turns[tuple[_Job, Decoded]] = Turns()
        lost = measures.decoders_lost.inc
        self._decoders = [Decoder(limits, on_lost=lost) for _ in range(count)]
        self._decoding: list[threading.Thread] = []
        self._computing: list[threading.Thread] = []

    def start(self) -> None:
        """Wait for the decoders, and start the threads.

        Raises:
            OSError, EOFError, ValueError: A decoder does not start.
        """
        for decoder in self._decoders:
            decoder.wait_until_ready()
        self._decoding = [_begin(partial(self._decode_all, decoder)) for decoder in self._decoders]
        self._computing = [_begin(self._compute_all) for _ in range(_NETWORK_THREADS)]

    def stop(self) -> None:
        """End decoders and threads at once; what still waits is told so."""
        self._ending = True
        for decoder in self._decoders:
            decoder.process.kill()
        for waiting, threads in ((self._arrived, self._decoding), (self._decoded, self._computing)):
            waiting.end()
            for thread in threads:
                thread.join(_END_S)
        for decoder in self._decoders:
            decoder.end()

    def submit(
        self, model: ServedModel, index: int, file: UploadedFile, asked: Asked, client: str
    ) -> asyncio.Future[Answered]:
        """Answer one file; for use in an event loop, in which the future is settled.

        Args:
            model: That is asked.
            index: The file's place in its request.
            file: What was sent.
            asked: What is wanted.
            client: Whose it is; clients take turns.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answered] = loop.create_future()

        def settle(found: Answered | Exception) -> None:
            if future.done():  # the client has gone
                return
            if isinstance(found, Exception):
                future.set_exception(found)
            else:
                future.set_result(found)

        def tell(found: Answered | Exception) -> None:
            loop.call_soon_threadsafe(settle, found)

        self._arrived.put(client, _Job(model, index, file, asked, client, tell, time.perf_counter()))
        return future

    def _decode_all(self, decoder: Decoder) -> None:
        while taken := self._arrived.take():
            job = taken.pop()
            waited_s = time.perf_counter() - job.begun
            if self._ending or waited_s > self._limits.wait_s:
                job.tell(ProblemError("busy", _TOO_LATE, headers={"retry-after": "1"}))
                del job
                continue
            try:
                recipe = job.model.bundle.card.image
                preview_px = PREVIEW_PX if job.asked.pictures else 0
                decoded = decoder.decode(job.file.data, job.file.suffix, recipe, preview_px=preview_px)
            except DecodeError as error:
                job.tell(self._refuse(job, error))
            except Exception as error:  # noqa: BLE001  the request fails, the thread goes on
                job.tell(error)
            else:
                self._measures.phase_seconds.labels("decode").observe(time.perf_counter() - job.begun)
                self._decoded.put(job.client, (job, decoded))
                del decoded
            finally:
                job.file.data.clear()  # not needed any more
                del job  # nothing of it stays while the next is waited for

    def _refuse(self, job: _Job, error: DecodeError) -> Answered:
        outcome = "lost" if isinstance(error, DecoderLostError) else "unreadable"
        self._measures.images.labels(job.model.name, outcome).inc()
        return refuse_file(job.index, ProblemError("unreadable-image", _sentence(error.reason)))

    def _compute_all(self) -> None:
        while part := self._decoded.take(_TOGETHER):
            for model, similar in {(job.model, job.asked.similar): None for job, _ in part}:
                own = [one for one in part if one[0].model is model and one[0].asked.similar == similar]
                self._compute(model, similar, own)
            del part, own, model

    def _compute(self, model: ServedModel, similar: int, part: Sequence[tuple[_Job, Decoded]]) -> None:
        begun = time.perf_counter()
        try:
            images = [decoded.image for _, decoded in part]
            rows = list(model.bundle.engine.stream(image.pixels[None] for image in images))
            predictions = model.predictor.conclude(images, rows, similar=similar)
            for (job, decoded), row, prediction in zip(part, rows, predictions, strict=True):
                picture = _draw(model, decoded, row) if job.asked.pictures else None
                frame = decoded.image.frame
                answer = answer_image(
                    job.index, prediction, format_=decoded.format, frame=frame, picture=picture
                )
                job.tell((answer, prediction))
        except Exception as error:  # noqa: BLE001  the thread goes on
            if len(part) == 1:
                part[0][0].tell(error)
            for one in part if len(part) > 1 else ():  # so that one that fails takes no other along
                self._compute(model, similar, [one])
            return
        self._measures.images.labels(model.name, "scored").inc(len(part))
        self._measures.phase_seconds.labels("network").observe(time.perf_counter() - begun)


def _begin(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, name="breastlens-serve", daemon=True)
    thread.start()
    return thread


def refuse_file(index: int, problem: ProblemError) -> Answered:
    """The answer to a file that has no score."""
    nothing = Prediction("", y_score=None, y_pred=None, category=None, error=problem.detail)
    return answer_problem(index, problem.describe()), nothing


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
