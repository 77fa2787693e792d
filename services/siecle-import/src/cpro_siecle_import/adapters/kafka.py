"""The worker's end of the jobs topic."""

from collections.abc import Sequence

from opentelemetry.trace import SpanKind

from cpro_contracts import topics
from cpro_contracts.imports import SiecleImportRequested
from cpro_platform import tracing
from cpro_platform.clock import Clock
from cpro_platform.consuming import Consumer, Message
from cpro_platform.dead_letters import DeadLetters
from cpro_platform.kafka import EventPublisher
from cpro_platform.metrics import Metrics
from cpro_platform.readiness import Readiness
from cpro_siecle_import.handlers import ImportRules, run_import
from cpro_siecle_import.ports import Exports, JobsAtWork, Rosters


def import_worker(
    bootstrap_servers: str,
    *,
    group: str,
    publisher: EventPublisher,
    session_timeout_seconds: float,
    max_poll_seconds: float,
    jobs: JobsAtWork,
    rosters: Rosters,
    exports: Exports,
    clock: Clock,
    rules: ImportRules,
    readiness: Readiness,
    metrics: Metrics,
) -> Consumer[Message]:
    """A consumer that carries out imports, one at a time. More processes share the partitions.

    A school's requests have one key, so one partition: they come in order. An import may take longer than any poll
    interval: the consumer keeps its membership meanwhile.
    """

    async def carry_out(messages: Sequence[Message]) -> None:
        for message in messages:
            event = message.envelope.event
            if not isinstance(event, SiecleImportRequested):
                continue
            with (
                tracing.continued_from(message.envelope.traceparent),
                tracing.span(
                    "import.run",
                    tracing.KAFKA | {"uai": event.uai, "import_id": str(event.import_id)},
                    kind=SpanKind.CONSUMER,
                ),
            ):
                await run_import(
                    event.uai,
                    event.import_id,
                    jobs=jobs,
                    rosters=rosters,
                    exports=exports,
                    clock=clock,
                    rules=rules,
                )

    return Consumer(
        bootstrap_servers,
        group=group,
        topics=[topics.SIECLE_IMPORT_JOBS],
        handle=carry_out,
        dead_letters=DeadLetters(publisher, group=group, clock=clock),
        batch_size=1,
        readiness=readiness,
        metrics=metrics,
        session_timeout_seconds=session_timeout_seconds,
        max_poll_interval_seconds=max_poll_seconds,
    )
