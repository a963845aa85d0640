"""POST /v1/predictions, the one route on which many images come: a plain ASGI application, and its description."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from breastlens.models.bundle import RESEARCH_NOTICE
from breastlens.serve.answers import PredictionsAnswer, name_model
from breastlens.serve.front import CLIENT, ROUTE, Receive, Scope, Send
from breastlens.serve.models import ServedModel
from breastlens.serve.pipeline import Asked
from breastlens.serve.problems import ProblemError
from breastlens.serve.service import Service, Ticket
from breastlens.serve.uploads import read_upload, too_large

MOST_SIMILAR = 20
PROBLEMS = (400, 404, 408, 413, 415, 422, 503)
MODEL_NAME = "which model; the first of GET /v1/models where none is named"


class Query(BaseModel):
    """What stands behind the question mark."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str | None = Field(default=None, max_length=64, description=MODEL_NAME)
    map: bool = Field(default=False, description="with pictures: the image, and what influenced the score")
    similar: int = Field(
        default=0, ge=0, le=MOST_SIMILAR, description="name so many of the most similar training images"
    )


class Predictions:
    """The route."""

    PATH: ClassVar = "/v1/predictions"

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            ProblemError: It cannot be answered.
        """
        scope[ROUTE] = self.PATH
        request, service = Request(scope, receive), self._service
        with service.gate.enter(
            scope.get(CLIENT, "")
        ) as ticket:  # until the client has its answer, which may be large
            response = await self._answer(request, ticket)
            ticket.hold(len(response.body))
            async with asyncio.timeout(service.limits.send_s):
                await _send_whole(response, send)

    async def _answer(self, request: Request, ticket: Ticket) -> Response:
        service, query = self._service, read_query(request)
        model = find_model(service, query.model)
        ticket.require_a_place()
        _check_length(request, service, ticket)
        content_type = request.headers.get("content-type", "")
        upload = await read_upload(request.stream(), content_type, service.limits, on_bytes=ticket.hold)
        most = service.limits.pictures
        if query.map and len(upload.files) > most:
            raise ProblemError("too-large", f"With map=true one request may have {most} files.")
        ticket.work()
        answered = await service.answer(model, upload, Asked(query.map, query.similar), ticket.client)
        card = model.bundle.card
        return json_response(
            {
                "request_id": request.state.request_id,
                "model": name_model(model),
                "threshold": card.threshold,
                "distance_limit": None if card.abstention is None else card.abstention.novelty.threshold,
                "notice": RESEARCH_NOTICE,
                **answered,
            }
        )


async def _send_whole(response: Response, send: Send) -> None:
    """Send an answer, and wait until the client has taken all but what fits into the network's own buffers.

    The server waits before a part, not behind it: so there is an empty one at the end.
    """
    await send({"type": "http.response.start", "status": 200, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def read_query(request: Request) -> Query:
    """What stands behind the question mark.

    Raises:
        ProblemError: A part of it is not as expected.
    """
    if not request.scope["query_string"]:
        return Query()
    try:
        return Query.model_validate(dict(request.query_params))
    except ValidationError as error:
        found = [
            f"{one['loc'][0]}: {one['msg']}" for one in error.errors() if one["type"] != "extra_forbidden"
        ]
        told = found or ["known are model, map and similar"]
        raise ProblemError("invalid", f"Not as expected: {'; '.join(told)}.") from error


def find_model(service: Service, name: str | None) -> ServedModel:
    """The model of a name.

    Raises:
        ProblemError: There is none.
    """
    found = service.models.get(name)
    if found is None:
        raise ProblemError(
            "not-found", f"There is no such model; there are {', '.join(service.models.names)}."
        )
    return found


def json_response(content: Any) -> Response:
    """An answer in JSON."""
    return Response(json.dumps(content, allow_nan=False), media_type="application/json")


def _check_length(request: Request, service: Service, ticket: Ticket) -> None:
    """Refuse a body that says it is too large, before any of it is read.

    Raises:
        ProblemError: It is, or there is no room for it now.
    """
    length = request.headers.get("content-length", "")
    if not length.isascii() or not length.isdigit():
        return
    if int(length) > service.limits.body_bytes:
        raise too_large(service.limits)
    ticket.require_room(int(length))


_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "additionalProperties": False,
                    "properties": {
                        "files": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                            "description": "PNG, JPEG, TIFF, BMP, WebP, PGM, DICOM, or temperatures in deg C as .npy, "
                            ".txt or .csv; the first frame of each. A text matrix is known by its suffix alone.",
                        },
                        "patient_id": {
                            "type": "array",
                            "items": {"type": "string", "maxLength": 256},
                            "description": "one for each file, or one for all; it is sent back and kept nowhere",
                        },
                    },
                },
                "encoding": {"files": {"contentType": "application/octet-stream"}},
            }
        },
    }
}


def describe_predictions(description: dict[str, Any]) -> None:
    """Add the route to a description in OpenAPI."""
    schemas = description["components"]["schemas"]
    answer = PredictionsAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= answer.pop("$defs", {}) | {PredictionsAnswer.__name__: answer}
    query = Query.model_json_schema()["properties"]
    responses: dict[str, Any] = {
        "200": {
            "description": "What the model says",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/PredictionsAnswer"}}},
        }
    }
    responses |= {str(status): {"description": "A problem"} for status in PROBLEMS}
    description["paths"][Predictions.PATH] = {
        "post": {
            "summary": "What a model says of images",
            "operationId": "predict",
            "parameters": [
                {"name": name, "in": "query", "required": False, "schema": schema}
                for name, schema in query.items()
            ],
            **_UPLOAD,
            "responses": responses,
        }
    }
