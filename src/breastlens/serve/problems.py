"""Every error of the service as RFC 9457 says: a type, a title, a status, and what to do about it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:breastlens:problem:"

_TITLES = {
    "bad-request": (400, "The request cannot be understood"),
    "unauthorised": (401, "A valid bearer token is needed"),
    "forbidden": (403, "The request comes from a place that may not ask"),
    "not-found": (404, "There is no such thing here"),
    "method-not-allowed": (405, "It cannot be asked in this way"),
    "timeout": (408, "The request did not arrive in time"),
    "too-large": (413, "The request is larger than the service takes"),
    "unsupported-media-type": (415, "The body is of another kind than the service takes"),
    "unreadable-image": (422, "The file cannot be read as an image"),
    "invalid": (422, "A part of the request is not as expected"),
    "too-many-requests": (429, "This token has asked too often"),
    "internal": (500, "The service has failed"),
    "busy": (503, "The service has more to do than it can take"),
    "not-ready": (503, "The service is not ready"),
}


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="which kind of problem; a stable name", examples=[f"{_TYPE}too-large"])
    title: str = Field(description="what that kind is, in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what happened this time, and the way out")
    request_id: str | None = Field(default=None, description="names the request in the service's log")


class ProblemError(Exception):
    """An error that is told to the client.

    Attributes:
        kind: One of the stable names.
        detail: What happened, and the way out; never a file's name or content.
        headers: To be sent with it.
    """

    def __init__(self, kind: str, detail: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.headers = kind, detail, headers or {}
        self.status, self.title = _TITLES[kind]

    def describe(self, request_id: str | None = None) -> dict[str, Any]:
        """The problem as the client gets it."""
        told = Problem(
            type=_TYPE + self.kind,
            title=self.title,
            status=self.status,
            detail=self.detail,
            request_id=request_id,
        )
        return told.model_dump(exclude_none=True)


def kind_of_status(status: int) -> str:
    """The name for a status that the framework chose."""
    return next((kind for kind, (code, _) in _TITLES.items() if code == status), "bad-request")
