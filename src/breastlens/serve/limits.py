"""What one request may cost, so that no request can take the machine."""

from __future__ import annotations

from pydantic import Field

from breastlens.config import ReadingLimits, Settings

MIB = 1024**2


class ServiceLimits(Settings):
    """Limits of the service; what exceeds one is refused with a problem that names it."""

    body_bytes: int = Field(default=256 * MIB, gt=0, description="of one request, all files together")
    files: int = Field(default=256, gt=0, description="in one request")
    reading: ReadingLimits = Field(
        default=ReadingLimits(file_bytes=64 * MIB, pixels=50_000_000, frames=2_000),
        description="of one file; held again by whoever decodes it",
    )
    decode_s: float = Field(default=20.0, gt=0, description="until a decoder that has not ended is killed")
    decoder_memory_bytes: int = Field(default=4096 * MIB, gt=0, description="address space of one decoder")
    receive_s: float = Field(default=60.0, gt=0, description="for a whole request to arrive")
    waiting: int = Field(default=128, gt=0, description="requests that are worked on or wait at any time")
    held_bytes: int = Field(default=1024 * MIB, gt=0, description="of all requests at any time")
    shutdown_s: float = Field(
        default=30.0, gt=0, description="for what is in flight when the service is to end"
    )
