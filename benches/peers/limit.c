/* What librdkafka alone can do: the bytes that `fireworks brownian` reads and writes, and none of its work.
 *
 * Each record consumed brings one on the output and --state-share (1) of one on OUTPUT.state, exactly once. They are
 * records that brownian has written before, read into memory at the start and sent round and round, so that compression
 * has the same to do: the last 50,000 each of --sample-output and --sample-state.
 *
 * Linked with the very librdkafka of our crate, rdkafka-sys (its version is in Cargo.lock), with the settings of
 * src/kafka/group.rs and producer.rs, but that more is fetched at once. Tuned to be the limit: records are consumed in
 * batches, topics are looked up once, payloads are not copied, and there are no delivery reports. As in brownian, the
 * state is written at the commit, and a transaction ends when nothing more is at hand, at the earliest after 2 ms, and
 * is followed by a pause. With --rate, it takes no more than so many messages a second, as a processor would that is
 * slower. With --copy 1, what is produced is copied, as a record must be that has only just been made. With --produce,
 * it consumes nothing, produces so many records, and ends.
 */
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rdkafka.h"

#define MAX_PARTITIONS 1024
#define SAMPLES 50000
#define BATCH 10000
#define BATCHES_A_SECOND 200
#define RECORDS_A_TRANSACTION 50000
#define MIN_COMMIT_AGE_MS 2
#define COMPLETION_US 3000
#define IDLE_POLL_MS 100
#define PATIENCE_MS 30000

typedef struct {
        void *key, *payload;
        size_t key_size, payload_size;
        int64_t timestamp;
} record_t;

/* The samples of one partition, in their order. */
typedef struct {
        record_t *records;
        size_t count;
} samples_t;

static const char *servers, *input, *output, *group, *sample_output, *sample_state, *codec = "lz4";
static long commit_interval_ms = 100, threads = 1, copied, to_produce;
static double state_share = 1, rate;
static samples_t steps[MAX_PARTITIONS], states[MAX_PARTITIONS];
static volatile sig_atomic_t stopping;

static void stop(int signal) {
        (void)signal;
        stopping = 1;
}

static void fail(const char *format, ...) {
        va_list arguments;
        va_start(arguments, format);
        fprintf(stderr, "limit: ");
        vfprintf(stderr, format, arguments);
        fprintf(stderr, "\n");
        exit(1);
}

static void check(rd_kafka_resp_err_t error, const char *what) {
        if (error) fail("%s: %s", what, rd_kafka_err2str(error));
}

static void check_error(rd_kafka_error_t *error, const char *what) {
        if (error) fail("%s: %s", what, rd_kafka_error_string(error));
}

static int64_t now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* A client with the settings that follow, in pairs up to NULL. */
static rd_kafka_t *client(rd_kafka_type_t type, ...) {
        char error[512];
        const char *name;
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        va_list settings;
        va_start(settings, type);
        while ((name = va_arg(settings, const char *)))
                if (rd_kafka_conf_set(conf, name, va_arg(settings, const char *), error, sizeof error))
                        fail("%s", error);
        va_end(settings);
        if (rd_kafka_conf_set(conf, "bootstrap.servers", servers, error, sizeof error)) fail("%s", error);
        rd_kafka_t *client = rd_kafka_new(type, conf, error, sizeof error);
        if (!client) fail("%s", error);
        return client;
}

static rd_kafka_t *consumer(const char *eof) {
        rd_kafka_t *consumer = client(RD_KAFKA_CONSUMER, "group.id", group, "isolation.level", "read_committed",
            "partition.assignment.strategy", "cooperative-sticky", "enable.auto.commit", "false",
            "enable.auto.offset.store", "false", "auto.offset.reset", "earliest", "enable.partition.eof", eof,
            "session.timeout.ms", "10000", "heartbeat.interval.ms", "1000", "fetch.queue.backoff.ms", "10",
            "queued.min.messages", "20000", "queued.max.messages.kbytes", "16384", "fetch.wait.max.ms", "100", NULL);
        rd_kafka_poll_set_consumer(consumer);
        return consumer;
}

static void *copy(const void *from, size_t size) {
        void *to = malloc(size ? size : 1);
        return size ? memcpy(to, from, size) : to;
}

/* Reads the last records of each partition of a topic: those of full windows. Returns how many partitions it has. */
static int read_samples(const char *topic, samples_t *samples) {
        rd_kafka_t *reader = consumer("true");
        const rd_kafka_metadata_t *metadata;
        rd_kafka_topic_t *handle = rd_kafka_topic_new(reader, topic, NULL);
        check(rd_kafka_metadata(reader, 0, handle, &metadata, PATIENCE_MS), topic);
        int partitions = metadata->topics[0].partition_cnt;
        if (partitions == 0 || partitions > MAX_PARTITIONS) fail("topic `%s` has %d partitions", topic, partitions);
        size_t most = SAMPLES / partitions;
        rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(partitions);
        for (int i = 0; i < partitions; i++)
                rd_kafka_topic_partition_list_add(all, topic, i)->offset = RD_KAFKA_OFFSET_TAIL(most);
        check(rd_kafka_assign(reader, all), topic);
        for (int open = partitions; open > 0;) {
                rd_kafka_message_t *message = rd_kafka_consumer_poll(reader, PATIENCE_MS);
                if (!message) fail("no answer while reading topic `%s`", topic);
                samples_t *of = &samples[message->partition];
                if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
                        open -= of->count < most;
                } else if (message->err) {
                        fail("%s: %s", topic, rd_kafka_message_errstr(message));
                } else if (of->count < most) {
                        if (!of->records) of->records = calloc(most, sizeof *of->records);
                        of->records[of->count++] = (record_t) {
                            copy(message->key, message->key_len), copy(message->payload, message->len),
                            message->key_len, message->len, rd_kafka_message_timestamp(message, NULL)};
                        open -= of->count == most;
                }
                rd_kafka_message_destroy(message);
        }
        /* A partition without any borrows another's, so that whatever is consumed brings something. */
        int any = 0;
        while (any < partitions && samples[any].count == 0) any++;
        if (any == partitions) fail("topic `%s` is empty", topic);
        for (int i = 0; i < MAX_PARTITIONS; i++)
                if (samples[i].count == 0) samples[i] = samples[any];
        rd_kafka_topic_partition_list_destroy(all);
        rd_kafka_metadata_destroy(metadata);
        rd_kafka_topic_destroy(handle);
        rd_kafka_consumer_close(reader);
        rd_kafka_destroy(reader);
        return partitions;
}

/* A producer that has taken over its transactional id. */
static rd_kafka_t *transactional(const char *id) {
        rd_kafka_t *producer = client(RD_KAFKA_PRODUCER, "transactional.id", id, "transaction.timeout.ms", "10000",
            "linger.ms", "50", "compression.type", codec, "queue.buffering.max.messages", "500000",
            "queue.buffering.max.kbytes", "262144", "retry.backoff.ms", "2", "retry.backoff.max.ms", "20", NULL);
        check_error(rd_kafka_init_transactions(producer, PATIENCE_MS), "init_transactions");
        return producer;
}

static void produce(rd_kafka_t *producer, rd_kafka_topic_t *topic, int partition, const samples_t *samples, size_t *next) {
        const record_t *record = &samples->records[*next];
        *next = *next + 1 == samples->count ? 0 : *next + 1;
        int flags = RD_KAFKA_MSG_F_BLOCK | (copied ? RD_KAFKA_MSG_F_COPY : 0);
        check(rd_kafka_producev(producer, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(partition),
            RD_KAFKA_V_MSGFLAGS(flags), RD_KAFKA_V_KEY(record->key, record->key_size),
            RD_KAFKA_V_VALUE(record->payload, record->payload_size), RD_KAFKA_V_TIMESTAMP(record->timestamp),
            RD_KAFKA_V_END), "produce");
}

static void *work(void *number) {
        char id[512], state[512];
        snprintf(id, sizeof id, "%s/limit/%ld", group, (long)number);
        snprintf(state, sizeof state, "%s.state", output);
        rd_kafka_t *producer = transactional(id);
        rd_kafka_topic_t *to_output = rd_kafka_topic_new(producer, output, NULL);
        rd_kafka_topic_t *to_state = rd_kafka_topic_new(producer, state, NULL);
        rd_kafka_t *reader = consumer("false");
        rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
        rd_kafka_topic_partition_list_add(topics, input, RD_KAFKA_PARTITION_UA);
        check(rd_kafka_subscribe(reader, topics), "subscribe");
        rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(reader);
        rd_kafka_message_t **messages = malloc(BATCH * sizeof *messages);

        /* By partition: the offset that comes next, or -1 where nothing is to be committed; how many records of state
         * are due; and which samples come next. */
        int64_t *offsets = malloc(MAX_PARTITIONS * sizeof *offsets);
        double *due = calloc(MAX_PARTITIONS, sizeof *due);
        size_t *next_step = calloc(MAX_PARTITIONS, sizeof *next_step);
        size_t *next_state = calloc(MAX_PARTITIONS, sizeof *next_state);
        for (int i = 0; i < MAX_PARTITIONS; i++) offsets[i] = -1;
        int64_t begun = 0, started = 0, consumed = 0;
        size_t batch = rate && rate / BATCHES_A_SECOND < BATCH ? (size_t)(rate / BATCHES_A_SECOND) + 1 : BATCH;

        while (!stopping || begun) {
                int64_t age = begun ? now_ms() - begun : 0;
                int64_t patience = !begun ? IDLE_POLL_MS : age < MIN_COMMIT_AGE_MS ? MIN_COMMIT_AGE_MS - age : 0;
                ssize_t count = stopping ? 0 : rd_kafka_consume_batch_queue(queue, (int)patience, messages, batch);
                for (ssize_t i = 0; i < count; i++) {
                        rd_kafka_message_t *message = messages[i];
                        int partition = message->partition;
                        check(message->err, "consume");
                        if (!begun) {
                                check_error(rd_kafka_begin_transaction(producer), "begin_transaction");
                                begun = now_ms();
                        }
                        produce(producer, to_output, partition, &steps[partition], &next_step[partition]);
                        offsets[partition] = message->offset + 1;
                        due[partition] += state_share;
                        rd_kafka_message_destroy(message);
                }
                if (count > 0) {
                        if (!started) started = now_ms();
                        consumed += count;
                }
                while (rate && (double)consumed > (double)(now_ms() - started) / 1000 * rate) usleep(500);
                age = begun ? now_ms() - begun : 0;
                if (!begun || (!stopping && age < (count > 0 ? commit_interval_ms : MIN_COMMIT_AGE_MS))) continue;

                rd_kafka_topic_partition_list_t *progress = rd_kafka_topic_partition_list_new(8);
                for (int i = 0; i < MAX_PARTITIONS; i++) {
                        if (offsets[i] < 0) continue;
                        rd_kafka_topic_partition_list_add(progress, input, i)->offset = offsets[i];
                        for (; due[i] >= 1; due[i]--)
                                produce(producer, to_state, i, &states[i], &next_state[i]);
                        offsets[i] = -1;
                }
                rd_kafka_consumer_group_metadata_t *metadata = rd_kafka_consumer_group_metadata(reader);
                check_error(rd_kafka_send_offsets_to_transaction(producer, progress, metadata, PATIENCE_MS), "send_offsets");
                check_error(rd_kafka_commit_transaction(producer, PATIENCE_MS), "commit_transaction");
                rd_kafka_consumer_group_metadata_destroy(metadata);
                rd_kafka_topic_partition_list_destroy(progress);
                begun = 0;
                if (count <= 0 && !stopping) usleep(COMPLETION_US);
        }
        rd_kafka_queue_destroy(queue);
        rd_kafka_consumer_close(reader);
        rd_kafka_topic_destroy(to_output);
        rd_kafka_topic_destroy(to_state);
        rd_kafka_destroy(reader);
        rd_kafka_destroy(producer);
        return NULL;
}

/* To each partition in turn. */
static void only_produce(int partitions) {
        rd_kafka_t *producer = transactional(group);
        rd_kafka_topic_t *to_output = rd_kafka_topic_new(producer, output, NULL);
        size_t next[MAX_PARTITIONS] = {0};
        for (long done = 0; done < to_produce;) {
                check_error(rd_kafka_begin_transaction(producer), "begin_transaction");
                long end = done + RECORDS_A_TRANSACTION < to_produce ? done + RECORDS_A_TRANSACTION : to_produce;
                for (; done < end; done++) {
                        int partition = (int)(done % partitions);
                        produce(producer, to_output, partition, &steps[partition], &next[partition]);
                }
                check_error(rd_kafka_commit_transaction(producer, PATIENCE_MS), "commit_transaction");
        }
        rd_kafka_topic_destroy(to_output);
        rd_kafka_destroy(producer);
}

int main(int count, char **arguments) {
        struct {
                const char *name, **value;
        } texts[] = {{"--bootstrap-servers", &servers}, {"--input", &input}, {"--output", &output}, {"--group", &group},
            {"--sample-output", &sample_output}, {"--sample-state", &sample_state}, {"--codec", &codec}};
        for (int i = 1; i + 1 < count; i += 2) {
                if (!strcmp(arguments[i], "--commit-interval-ms")) commit_interval_ms = atol(arguments[i + 1]);
                if (!strcmp(arguments[i], "--threads")) threads = atol(arguments[i + 1]);
                if (!strcmp(arguments[i], "--state-share")) state_share = atof(arguments[i + 1]);
                if (!strcmp(arguments[i], "--copy")) copied = atol(arguments[i + 1]);
                if (!strcmp(arguments[i], "--produce")) to_produce = atol(arguments[i + 1]);
                if (!strcmp(arguments[i], "--rate")) rate = atof(arguments[i + 1]);
                for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
                        if (!strcmp(arguments[i], texts[k].name)) *texts[k].value = arguments[i + 1];
        }
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
                if (!*texts[k].value) fail("%s is missing", texts[k].name);
        if (threads < 1 || threads > 64) fail("--threads is not in 1 ... 64");
        signal(SIGTERM, stop);
        signal(SIGINT, stop);
        int partitions = read_samples(sample_output, steps);
        if (to_produce) {
                only_produce(partitions);
                return 0;
        }
        read_samples(sample_state, states);
        pthread_t ids[64];
        for (long i = 1; i < threads; i++) pthread_create(&ids[i], NULL, work, (void *)i);
        work((void *)0);
        for (long i = 1; i < threads; i++) pthread_join(ids[i], NULL);
        return 0;
}
