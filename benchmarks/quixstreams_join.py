"""The join of pupils' departures and arrivals, as quixstreams would do it. Runs in an environment of its own.

Enrolments by match key in a RocksDB store with its changelog; the opt-ins, which are few, are read before the start and
kept in memory, for quixstreams has no table that every partition shares. Of each establishment the highest revision
stands, and a transfer that was planned under a business key is not planned again.

Arguments: bootstrap servers, group, state folder, pupils' topic, establishments' topic, output topic.
"""

import sys
import time
from collections.abc import Iterator
from typing import Any

import orjson
from confluent_kafka import Consumer, TopicPartition
from quixstreams import Application, State
from quixstreams.models import TopicConfig

_JOINED = {"siecle", "replay"}
_begun = False


def read_opt_ins(bootstrap: str, topic: str) -> dict[str, bool]:
    """The whole topic of establishments, to its end."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-opt-ins", "enable.auto.commit": False})
    places = [TopicPartition(topic, number, 0) for number in consumer.list_topics(topic).topics[topic].partitions]
    left = sum(consumer.get_watermark_offsets(place)[1] for place in places)
    consumer.assign(places)
    opted_in: dict[str, bool] = {}
    while left:
        for message in consumer.consume(500, timeout=1):
            event = orjson.loads(message.value())
            opted_in[event["uai"]] = event["enabled"]
            left -= 1
    consumer.close()
    return opted_in


def enrolment(event: dict[str, Any], kind: str) -> dict[str, Any]:
    withdrawn = kind.startswith("cpro.pupil.withdrawn")
    return {
        "pupil_id": event["pupil_id"],
        "active": not withdrawn and not kind.startswith("cpro.pupil.deactivated"),
        "withdrawn": withdrawn,
        "source": event["source"],
        "ine_status": event["ine_status"],
        "revision": event["revision"],
        "import_id": event["import_id"],
        "occurred_at": event["occurred_at"],
    }


def called_for(match_key: str, known: dict[str, Any], opted_in: dict[str, bool]) -> Iterator[dict[str, Any]]:
    """The transfers that are called for and were not planned yet; they are marked as planned."""
    if len(known) < 2 or match_key.startswith("pupil:"):
        return
    for uai, leaver in known.items():
        if leaver["active"] or leaver["withdrawn"] or leaver["source"] not in _JOINED or not opted_in.get(uai):
            continue
        arrivals = [
            other for other, one in known.items() if other != uai and one["active"] and one["source"] in _JOINED
        ]
        if len(arrivals) != 1 or not opted_in.get(arrivals[0]):
            continue
        business_key = f"{leaver['revision']}>{arrivals[0]}"
        if leaver.get("planned") != business_key:
            leaver["planned"] = business_key
            yield {
                "match_key": match_key,
                "origin_uai": uai,
                "origin_pupil_id": leaver["pupil_id"],
                "origin_revision": leaver["revision"],
                "destination_uai": arrivals[0],
                "destination_pupil_id": known[arrivals[0]]["pupil_id"],
            }


def main(*arguments: str) -> None:
    bootstrap, group, state_folder, pupils, establishments, planned = arguments
    opted_in = read_opt_ins(bootstrap, establishments)
    application = Application(
        bootstrap,
        consumer_group=group,
        auto_offset_reset="earliest",
        state_dir=state_folder,
        commit_interval=0.5,
        consumer_poll_timeout=0.1,
        producer_extra_config={"linger.ms": 50, "acks": "all"},
        processing_guarantee="at-least-once",
        loglevel="WARNING",
    )

    def take(event: dict[str, Any], key: bytes, _timestamp: int, headers: Any, state: State) -> list[dict[str, Any]]:
        global _begun  # noqa: PLW0603 - said once
        if not _begun:
            _begun = True
            print(f"begun {time.time() * 1000:.0f}", flush=True)
        known = state.get("enrolments", {})
        before = known.get(event["uai"])
        if before and before["revision"] >= event["revision"]:
            return []
        kind = next(value for name, value in headers if name == "ce_type").decode()
        known[event["uai"]] = enrolment(event, kind)
        found = list(called_for(key.decode(), known, opted_in))
        state.set("enrolments", known)
        return found

    source = application.topic(pupils, key_deserializer="bytes", value_deserializer="json")
    sink = application.topic(planned, key_serializer="str", config=TopicConfig(num_partitions=12, replication_factor=1))
    application.dataframe(source).apply(take, stateful=True, metadata=True, expand=True).to_topic(
        sink, key=lambda transfer: transfer["origin_uai"]
    )
    application.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
