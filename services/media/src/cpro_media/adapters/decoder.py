"""Decodes untrusted images in a process of their own, one each: limited in memory and time, and killed past that."""

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

from cpro_media.config import DecoderSettings
from cpro_media.domain.images import Picture, Refusal, RefusedImageError, Rendition
from cpro_platform.logs import get_logger

_MODULE = "cpro_media.adapters.decoding_process"
_log = get_logger(__name__)


class SubprocessDecoder:
    """Implements `ports.Decoder`."""

    def __init__(self, settings: DecoderSettings) -> None:
        self._settings = settings
        self._places = asyncio.Semaphore(settings.max_processes)

    async def decode(self, data: bytes) -> Rendition:
        async with self._places:
            answer = await self._run(data)
        header, _, pictures = answer.partition(b"\n")
        described = json.loads(header)
        if refusal := described.get("refused"):
            raise RefusedImageError(Refusal(refusal))
        split = int(described["image"]["length"])
        return Rendition(
            _picture(described["image"], pictures[:split]), _picture(described["thumbnail"], pictures[split:])
        )

    async def _run(self, data: bytes) -> bytes:
        settings = self._settings
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", _MODULE, str(settings.memory_bytes), str(settings.timeout_seconds),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},  # it needs nothing of ours, least of all our secrets
        )  # fmt: skip
        try:
            async with asyncio.timeout(settings.timeout_seconds):
                answer, _ = await process.communicate(data)
        except TimeoutError:
            answer = b""
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0 or not answer:
            # Killed by its limits, or by a fault in a decoder: either way this picture is not for us.
            _log.warning("image.decoder_died", exit_code=process.returncode, bytes=len(data))
            raise RefusedImageError(Refusal.TOO_DEMANDING)
        return answer


def _picture(described: Mapping[str, Any], data: bytes) -> Picture:
    return Picture(described["content_type"], data, described["width"], described["height"])
