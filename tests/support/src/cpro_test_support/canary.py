"""A canary for personal data: everything that is said outside the establishments' databases, gathered and searched."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from urllib.parse import quote

import httpx
import psycopg
from aiokafka import AIOKafkaConsumer
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cpro_contracts import topics
from cpro_platform import logs, tracing
from cpro_platform.config import TelemetrySettings

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"


@dataclass
class Canary:
    """What was said, by place, and where a planted value is in it."""

    planted: tuple[str, ...]
    said: dict[str, list[str]] = field(default_factory=dict)

    def note(self, place: str, texts: Iterable[str]) -> None:
        """Something was said there."""
        self.said.setdefault(place, []).extend(texts)

    def note_answer(self, place: str, answer: httpx.Response) -> httpx.Response:
        """An answer was given: its body and its headers; returns it."""
        self.note(place, [answer.text, str(answer.headers.multi_items())])
        return answer

    async def note_topics(self, bootstrap_servers: str) -> None:
        """Every message of every topic: keys, values and headers, a place for each topic."""
        consumer = AIOKafkaConsumer(
            *(topic.name for topic in topics.ALL), bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(list(consumer.assignment()))
            while any([await consumer.position(partition) < end for partition, end in ends.items()]):
                for partition, batch in (await consumer.getmany(timeout_ms=1_000)).items():
                    texts = [
                        json.dumps([str(m.key), str(m.headers), (m.value or b"").decode(errors="replace")])
                        for m in batch
                    ]
                    self.note(f"topic {partition.topic}", texts)
        finally:
            await consumer.stop()

    async def note_database(self, name: str, conninfo: str) -> None:
        """Every row of every table of a service's database, a place for each table; bytes as they are read."""
        async with await psycopg.AsyncConnection.connect(conninfo) as connection:
            for (table,) in await (await connection.execute(_TABLES)).fetchall():
                rows = await connection.execute(f"SELECT to_jsonb(t)::text FROM {table} t")
                self.note(f"{name}.{table}", [_with_bytes_read(row[0]) for row in await rows.fetchall()])

    def found(self) -> Mapping[str, list[str]]:
        """By planted value, the places where it is, with the text around it."""
        found: dict[str, list[str]] = {}
        for value in self.planted:
            forms = {form.lower() for form in (value, json.dumps(value)[1:-1], quote(value))}
            for place, texts in self.said.items():
                for text in texts:
                    if any(form in text.lower() for form in forms):
                        found.setdefault(value, []).append(f"{place}: {text[:200]}")
        return found

    def tally(self) -> str:
        """How much was looked at."""
        texts = sum(map(len, self.said.values()))
        characters = sum(len(text) for told in self.said.values() for text in told)
        return f"{len(self.said)} places, {texts} texts, {characters} characters, {len(self.planted)} planted values"


class Listener:
    """Every log line from debug level on, of our own code and of libraries, and every span."""

    def __init__(self) -> None:
        self._stream = StringIO()
        self._exporter = InMemorySpanExporter()
        logs.configure(TelemetrySettings(log_level="debug"), service="canary", stream=self._stream)
        logging.getLogger("httpx").setLevel(logging.WARNING)  # what this test's own client asks for
        tracing.configure("canary").add_span_processor(SimpleSpanProcessor(self._exporter))

    def tell(self, canary: Canary) -> None:
        """Hand over what was heard."""
        canary.note("log", self._stream.getvalue().splitlines())
        canary.note("spans", [span.to_json(indent=None) for span in self._exporter.get_finished_spans()])


def _with_bytes_read(row: str) -> str:
    """A row's JSON, with columns of bytes added in clear: in hexadecimal nothing is found."""
    values = [value for value in json.loads(row).values() if value is not None]
    texts = [one for value in values for one in (value if isinstance(value, list) else [value])]
    read = [
        bytes.fromhex(one[2:]).decode(errors="replace")
        for one in texts
        if isinstance(one, str) and one.startswith("\\x")
    ]
    return " ".join([row, *read])


__all__ = ["Canary", "Listener"]
