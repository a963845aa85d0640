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
from starlette.routing import Route

from breastlens import __version__
from breastlens.models.bundle import RESEARCH_NOTICE
from breastlens.serve.answers import ModelAnswer, ModelsAnswer, describe_model, name_model
from breastlens.serve.front import GUARDED, INTERNAL, REFUSED, App, Front, Rules
from breastlens.serve.predictions import (
    MODEL_NAME,
    Predictions,
    describe_predictions,
    find_model,
    json_response,
)
from breastlens.serve.problems import MEDIA_TYPE, Problem, ProblemError, kind_of_status
from breastlens.serve.service import Service

PAGE = Path(__file__).parent / "page"
_NAME = Query(max_length=64, description=MODEL_NAME)
ModelName = Annotated[str | None, _NAME]


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
    _add_page(app)
    predictions = Predictions(service)
    app.router.routes.append(Route(predictions.PATH, predictions, methods=["POST"]))
    _describe(app, needs_token=rules.tokens is not None)
    # What is asked most need not pass the framework, which takes half of the time that is not the network's.
    return Front(app, rules, service.measures, direct={("POST", predictions.PATH): predictions})


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", summary="Whether the process lives", response_model=dict[str, str])
    async def health() -> Response:
        return json_response({"status": "alive"})

    @app.get(
        "/readyz",
        summary="Whether it takes requests",
        response_model=dict[str, str],
        responses=problem_responses(503),
    )
    async def ready() -> Response:
        if not service.ready:
            raise ProblemError("not-ready", "It starts or ends.", headers={"retry-after": "1"})
        return json_response({"status": "ready"})

    @app.get("/metrics", summary="Counters, as Prometheus reads them", response_class=Response)
    async def metrics() -> Response:
        return Response(service.measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", summary="Which models there are", response_model=ModelsAnswer)
    async def list_models() -> Response:
        models = [find_model(service, name) for name in service.models.names]
        return json_response({"models": [name_model(model) for model in models]})

    @app.get(
        "/v1/model",
        summary="What a model is, and how far it may be believed",
        response_model=ModelAnswer,
        responses=problem_responses(404, 422),
    )
    async def show_model(model: ModelName = None) -> Response:
        return json_response(describe_model(find_model(service, model)))

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
        version: Annotated[
            str | None,
            Query(max_length=64, description="of the model that named the number; another has others"),
        ] = None,
    ) -> Response:
        found = find_model(service, model)
        picture = found.thumbnails.get(number) if version in (None, found.version) else None
        if picture is None:
            raise ProblemError(
                "not-found", "The model carries no picture of a training image of this number."
            )
        return Response(picture, media_type="image/jpeg")


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


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(ProblemError)
    async def on_problem(request: Request, problem: ProblemError) -> Response:
        return _problem(request, problem)

    @app.exception_handler(Exception)
    async def on_failure(request: Request, error: Exception) -> Response:
        return _problem(request, ProblemError("internal", INTERNAL))

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


def _describe(app: FastAPI, *, needs_token: bool) -> None:
    """Finish the description: what every route can answer, the media type of errors, and whether a token is needed."""
    description = app.openapi()
    describe_predictions(description)
    for place, path in description["paths"].items():
        guarded = place.startswith(GUARDED)
        for operation in path.values():
            responses = operation["responses"]
            if guarded:
                responses |= {str(status): {"description": "A problem"} for status in REFUSED}
            for status, response in responses.items():
                if int(status) >= 400:
                    schema = {"$ref": "#/components/schemas/Problem"}
                    response["content"] = {MEDIA_TYPE: {"schema": schema}}
            operation["security"] = [{"token": []}] if guarded and needs_token else []
    description["components"].setdefault("securitySchemes", {})["token"] = {
        "type": "http",
        "scheme": "bearer",
    }
