package cpro.benchmark;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.ValueAndTimestamp;

/**
 * The join of pupils' departures and arrivals, as Kafka Streams would do it.
 *
 * <p>Enrolments by match key in a RocksDB store with its changelog; the establishments' opt-ins in a global table. Of each
 * establishment the highest revision stands, and a transfer that was planned under a business key is not planned again.
 * A change of an opt-in is seen by the pupils' next events only: nothing looks for the pupils who waited for it.
 *
 * <p>Arguments: bootstrap servers, application id, state folder, pupils' topic, establishments' topic, output topic.
 */
public final class Join {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String ENROLMENTS = "enrolments";
    private static final String OPT_INS = "opt-ins";
    private static final AtomicBoolean BEGUN = new AtomicBoolean();

    private Join() {}

    public static void main(String[] arguments) throws InterruptedException {
        var streams = new KafkaStreams(topology(arguments[3], arguments[4], arguments[5]).build(), settings(arguments));
        var closed = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close();
            closed.countDown();
        }));
        streams.start();
        closed.await();
    }

    private static Properties settings(String[] arguments) {
        var settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[1]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[2]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.AT_LEAST_ONCE);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 500);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        settings.put(StreamsConfig.consumerPrefix("max.poll.records"), 2000);
        settings.put(StreamsConfig.producerPrefix("acks"), "all");
        settings.put(StreamsConfig.producerPrefix("linger.ms"), 50);
        settings.put(StreamsConfig.producerPrefix("batch.size"), 131072);
        return settings;
    }

    private static StreamsBuilder topology(String pupils, String establishments, String planned) {
        var builder = new StreamsBuilder();
        builder.globalTable(
                establishments,
                Consumed.with(Serdes.String(), Serdes.ByteArray()),
                Materialized.<String, byte[]>as(Stores.inMemoryKeyValueStore(OPT_INS))
                        .withKeySerde(Serdes.String())
                        .withValueSerde(Serdes.ByteArray()));
        builder.addStateStore(Stores.keyValueStoreBuilder(
                        Stores.persistentKeyValueStore(ENROLMENTS), Serdes.String(), Serdes.ByteArray())
                .withLoggingEnabled(Map.of())
                .withCachingEnabled());
        builder.stream(pupils, Consumed.with(Serdes.String(), Serdes.ByteArray()))
                .process(Planner::new, ENROLMENTS)
                .to(planned, Produced.with(Serdes.String(), Serdes.ByteArray()));
        return builder;
    }

    private static final class Planner implements Processor<String, byte[], String, byte[]> {
        private ProcessorContext<String, byte[]> context;
        private KeyValueStore<String, byte[]> enrolments;
        private KeyValueStore<String, ValueAndTimestamp<byte[]>> optIns;

        @Override
        public void init(ProcessorContext<String, byte[]> context) {
            this.context = context;
            this.enrolments = context.getStateStore(ENROLMENTS);
            this.optIns = context.getStateStore(OPT_INS);
        }

        @Override
        public void process(Record<String, byte[]> record) {
            if (BEGUN.compareAndSet(false, true)) {
                System.out.println("begun " + System.currentTimeMillis());
            }
            try {
                take(record);
            } catch (IOException broken) {
                throw new UncheckedIOException(broken);
            }
        }

        private void take(Record<String, byte[]> record) throws IOException {
            var event = JSON.readTree(record.value());
            var stored = enrolments.get(record.key());
            var known = stored == null ? JSON.createObjectNode() : (ObjectNode) JSON.readTree(stored);
            var uai = event.get("uai").textValue();
            var before = known.get(uai);
            if (before != null && before.get("revision").longValue() >= event.get("revision").longValue()) {
                return;
            }
            known.set(uai, enrolment(record, event));
            plan(record, known);
            enrolments.put(record.key(), JSON.writeValueAsBytes(known));
        }

        private static ObjectNode enrolment(Record<String, byte[]> record, JsonNode event) {
            Header header = record.headers().lastHeader("ce_type");
            var type = new String(header.value(), StandardCharsets.UTF_8);
            var withdrawn = type.startsWith("cpro.pupil.withdrawn");
            var enrolment = JSON.createObjectNode();
            enrolment.set("pupil_id", event.get("pupil_id"));
            enrolment.put("active", !withdrawn && !type.startsWith("cpro.pupil.deactivated"));
            enrolment.put("withdrawn", withdrawn);
            enrolment.set("source", event.get("source"));
            enrolment.set("ine_status", event.get("ine_status"));
            enrolment.set("revision", event.get("revision"));
            enrolment.set("import_id", event.get("import_id"));
            enrolment.set("occurred_at", event.get("occurred_at"));
            return enrolment;
        }

        private void plan(Record<String, byte[]> record, ObjectNode known) throws IOException {
            if (known.size() < 2 || record.key().startsWith("pupil:")) {
                return;
            }
            for (var origin : known.properties()) {
                var leaver = (ObjectNode) origin.getValue();
                if (leaver.get("active").booleanValue() || leaver.get("withdrawn").booleanValue() || !joined(leaver)) {
                    continue;
                }
                var arrivals = arrivals(known, origin.getKey());
                if (arrivals.size() != 1 || !optedIn(origin.getKey()) || !optedIn(arrivals.get(0))) {
                    continue;
                }
                var key = leaver.get("revision").asText() + ">" + arrivals.get(0);
                if (!leaver.has("planned") || !leaver.get("planned").textValue().equals(key)) {
                    leaver.put("planned", key);
                    emit(record, origin.getKey(), leaver, arrivals.get(0), known.get(arrivals.get(0)));
                }
            }
        }

        private static List<String> arrivals(ObjectNode known, String origin) {
            var found = new ArrayList<String>(1);
            for (var other : known.properties()) {
                if (!other.getKey().equals(origin) && other.getValue().get("active").booleanValue() && joined(other.getValue())) {
                    found.add(other.getKey());
                }
            }
            return found;
        }

        private static boolean joined(JsonNode enrolment) {
            var source = enrolment.get("source").textValue();
            return source.equals("siecle") || source.equals("replay");
        }

        private boolean optedIn(String uai) throws IOException {
            var said = optIns.get(uai + "/transfer-opt-in");
            return said != null && JSON.readTree(said.value()).path("enabled").booleanValue();
        }

        private void emit(Record<String, byte[]> record, String origin, JsonNode leaver, String destination, JsonNode arrival)
                throws IOException {
            var planned = JSON.createObjectNode();
            planned.put("match_key", record.key());
            planned.put("origin_uai", origin);
            planned.set("origin_pupil_id", leaver.get("pupil_id"));
            planned.set("origin_revision", leaver.get("revision"));
            planned.put("destination_uai", destination);
            planned.set("destination_pupil_id", arrival.get("pupil_id"));
            context.forward(record.withKey(origin).withValue(JSON.writeValueAsBytes(planned)));
        }
    }
}
