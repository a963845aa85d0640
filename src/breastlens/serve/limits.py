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
        default=ReadingLimits(file_bytes=64 * MIB, pixels=25_000_000, frames=2_000, memory_bytes=1408 * MIB),
        description="of one file; held again by whoever decodes it",
    )
    decode_s: float = Field(default=20.0, gt=0, description="until a decoder that has not ended is killed")
    decoder_memory_bytes: int = Field(
        default=2048 * MIB,
        gt=0,
        description="address space of one decoder: libraries, a file twice, and what reading may take",
    )
    wait_s: float = Field(
        default=30.0, gt=0, description="until an image that waits for a decoder is given up"
    )
    receive_s: float = Field(default=60.0, gt=0, description="for a whole request to arrive")
    pictures: int = Field(default=32, gt=0, description="files in one request that asks for pictures, too")
    waiting: int = Field(default=128, gt=0, description="requests that are worked on or wait at any time")
    receiving: int = Field(
        default=512, gt=0, description="requests at any time, those that still arrive as well"
    )
    held_bytes: int = Field(default=1024 * MIB, gt=0, description="of all requests at any time")
    send_s: float = Field(default=60.0, gt=0, description="for a client to take its answer")
    shutdown_s: float = Field(
        default=30.0, gt=0, description="for what is in flight when the service is to end"
    )
