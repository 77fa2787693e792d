"""Decodes untrusted images in a process of their own, one each: limited in memory and time, and killed past that."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
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
            exit_code, answer = await self._run(data)
        if exit_code != 0:
            _log.warning("image.decoder_died", exit_code=exit_code, bytes=len(data))
        return answer_of(exit_code, answer)

    async def _run(self, data: bytes) -> tuple[int | None, bytes]:
        process = await asyncio.create_subprocess_exec(
            *command_of(self._settings),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},  # it needs nothing of ours, least of all our secrets
        )
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                answer, _ = await process.communicate(data)
        except TimeoutError:
            answer = b""
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode, answer


def command_of(settings: DecoderSettings) -> Sequence[str]:
    """The command that decodes one image under these limits."""
    return sys.executable, "-I", "-m", _MODULE, str(settings.memory_bytes), str(settings.processor_seconds)


def answer_of(exit_code: int | None, answer: bytes) -> Rendition:
    """What the process made of its image.

    Raises:
        RefusedImageError: it refused the image, or died on it: killed by its limits or by a fault in a decoder. Either
            way this picture is not for us.
    """
    header, _, pictures = answer.partition(b"\n")
    if exit_code != 0 or not header:
        raise RefusedImageError(Refusal.TOO_DEMANDING)
    described = json.loads(header)
    if refusal := described.get("refused"):
        raise RefusedImageError(Refusal(refusal))
    split = int(described["image"]["length"])
    return Rendition(_picture(described["image"], pictures[:split]), _picture(described["thumbnail"], pictures[split:]))


def _picture(described: Mapping[str, Any], data: bytes) -> Picture:
    return Picture(described["content_type"], data, described["width"], described["height"])
