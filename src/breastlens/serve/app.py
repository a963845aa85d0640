"""The HTTP interface: routes, what OpenAPI says of them, and every error as a problem."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from breastlens import __version__
from breastlens.models.bundle import RESEARCH_NOTICE
from breastlens.serve.answers import (
    ModelAnswer,
    ModelsAnswer,
    PredictionsAnswer,
    describe_model,
    name_model,
)
from breastlens.serve.front import App, Front, Rules
from breastlens.serve.models import ServedModel
from breastlens.serve.problems import MEDIA_TYPE, Problem, ProblemError, kind_of_status
from breastlens.serve.service import Asked, Service
from breastlens.serve.uploads import read_upload, too_large

PAGE = Path(__file__).parent / "page"
MOST_SIMILAR = 20
_NAME = Query(max_length=64, description="which model; the first of GET /v1/models where none is named")
ModelName = Annotated[str | None, _NAME]
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


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI is to say of the errors of a route."""
    return {
        status: {"model": Problem, "description": "A problem", "content": {MEDIA_TYPE: {}}}
        for status in statuses
    }


def create_app(service: Service, rules: Rules) -> App:
    """Put a service behind HTTP.

    Args:
        service: Its context has to be entered before the first request.
        rules: Who may ask.
    """
    app = FastAPI(
        title="BreastLens",
        version=__version__,
        description=f"A saved model behind HTTP. {RESEARCH_NOTICE}",
        docs_url=None,  # that page would be loaded from another host
        redoc_url=None,
        redirect_slashes=False,
    )
    _handle_errors(app)
    _add_state(app, service)
    _add_models(app, service)
    _add_predictions(app, service)
    _add_page(app)
    _describe(app)
    return Front(app, rules, service.measures)


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", summary="Whether the process lives", response_model=dict[str, str])
    async def health() -> Response:
        return _json({"status": "alive"})

    @app.get(
        "/readyz",
        summary="Whether it takes requests",
        response_model=dict[str, str],
        responses=problem_responses(503),
    )
    async def ready() -> Response:
        if not service.ready:
            raise ProblemError("not-ready", "It starts or ends.", headers={"retry-after": "1"})
        return _json({"status": "ready"})

    @app.get("/metrics", summary="Counters, as Prometheus reads them", response_class=Response)
    async def metrics() -> Response:
        return Response(service.measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", summary="Which models there are", response_model=ModelsAnswer)
    async def list_models() -> Response:
        models = [_find_model(service, name) for name in service.models.names]
        return _json({"models": [name_model(model) for model in models]})

    @app.get(
        "/v1/model",
        summary="What a model is, and how far it may be believed",
        response_model=ModelAnswer,
        responses=problem_responses(404, 422),
    )
    async def show_model(model: ModelName = None) -> Response:
        return _json(describe_model(_find_model(service, model)))

    @app.get(
        "/v1/thumbnails/{number}",
        summary="A training image, where the model's maker gave them along",
        response_class=Response,
        responses=problem_responses(404, 422)
        | {200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}},
    )
    async def show_thumbnail(
        number: Annotated[int, PathParameter(ge=0, le=2**53, description="as in `similar`")],
        model: ModelName = None,
    ) -> Response:
        picture = _find_model(service, model).thumbnails.get(number)
        if picture is None:
            raise ProblemError(
                "not-found", "The model carries no picture of a training image of this number."
            )
        return Response(picture, media_type="image/jpeg")


def _add_predictions(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/predictions",
        summary="What a model says of images",
        response_model=PredictionsAnswer,
        responses=problem_responses(400, 404, 408, 413, 415, 422, 429, 503),
        openapi_extra=_UPLOAD,
    )
    async def predict(
        request: Request,
        model: ModelName = None,
        map: Annotated[  # noqa: A002  the name clients use
            bool, Query(description="with pictures: the image, and what influenced the score")
        ] = False,
        similar: Annotated[
            int, Query(ge=0, le=MOST_SIMILAR, description="name so many of the most similar training images")
        ] = 0,
    ) -> Response:
        asked = _find_model(service, model)
        with service.gate.enter() as ticket:
            _check_length(request, service)
            upload = await read_upload(
                request.stream(),
                request.headers.get("content-type", ""),
                service.limits,
                on_bytes=ticket.hold,
            )
            answered = await service.answer(asked, upload, Asked(pictures=map, similar=similar))
        return _json(
            {
                "request_id": request.state.request_id,
                "model": name_model(asked),
                "threshold": asked.bundle.card.threshold,
                "notice": RESEARCH_NOTICE,
                **answered,
            }
        )


def _add_page(app: FastAPI) -> None:
    """The page's files; each has its own place, so that whatever else is asked for is not looked up on disk."""
    for path in sorted(PAGE.iterdir()):
        if path.is_dir():
            app.mount(f"/{path.name}", StaticFiles(directory=path), name=path.name)
            continue
        place = "/" if path.name == "index.html" else f"/{path.name}"
        app.add_route(place, _send_file(path), include_in_schema=False)


def _send_file(path: Path) -> Callable[[Request], Response]:
    return lambda request: FileResponse(path)


def _check_length(request: Request, service: Service) -> None:
    """Refuse a body that says it is too large, before any of it is read.

    Raises:
        ProblemError: It is, or there is no room for it now.
    """
    length = request.headers.get("content-length", "")
    if not length.isascii() or not length.isdigit():
        return
    if int(length) > service.limits.body_bytes:
        raise too_large(service.limits)
    if not service.gate.has_room(int(length)):
        raise service.gate.busy("bytes")


def _find_model(service: Service, name: str | None) -> ServedModel:
    found = service.models.get(name)
    if found is None:
        raise ProblemError(
            "not-found", f"There is no such model; there are {', '.join(service.models.names)}."
        )
    return found


def _json(content: Any) -> Response:
    return Response(json.dumps(content, allow_nan=False), media_type="application/json")


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(ProblemError)
    async def on_problem(request: Request, problem: ProblemError) -> Response:
        return _problem(request, problem)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        kind = kind_of_status(error.status_code)
        return _problem(
            request,
            ProblemError(kind, "See /openapi.json for what there is.", headers=dict(error.headers or {})),
        )

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        places = sorted({str(one["loc"][-1]) for one in error.errors()})
        return _problem(request, ProblemError("invalid", f"Not as expected: {', '.join(places)}."))


def _problem(request: Request, problem: ProblemError) -> Response:
    body = problem.describe(getattr(request.state, "request_id", None))
    return Response(json.dumps(body), problem.status, problem.headers, MEDIA_TYPE)


def _describe(app: FastAPI) -> None:
    """Finish the description: errors have a media type of their own, and a token may be asked for."""
    description = app.openapi()
    for path in description["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    schema = {"$ref": "#/components/schemas/Problem"}
                    response["content"] = {MEDIA_TYPE: {"schema": schema}}
    description["components"].setdefault("securitySchemes", {})["token"] = {
        "type": "http",
        "scheme": "bearer",
    }
    description["security"] = [{}, {"token": []}]
