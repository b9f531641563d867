"""The source of Fireworks as a Spark application: readings from `rate-micro-batch` into a Kafka topic.

It writes what `fireworks generate` writes, field for field, onto the same partitions with the same timestamps, and takes
the same flags and variables. Two things are Spark's own. Its Kafka sink is at-least-once: a batch that was cut short by a
crash is written again, and whoever reads drops the repeats. And a trigger runs one batch: after a stall the rows go on
where they were, and what was missed is not made up for.

    spark-submit generate.py --checkpoint FOLDER …     or python generate.py …, which starts Spark itself
"""

import ast
import logging
import os
import signal
import sys
import threading
import time

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

import progress
import settings as flags
from health import Health
from topic import Topic

log = logging.getLogger("generate")
# How often the loop looks, in seconds.
LOOK = 0.02
# How long a batch may take to end when we are asked to stop.
DRAIN = 10


def main(arguments):
    settings = flags.parse(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("py4j").setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    health = Health(patience=30 + 5 * settings.interval_ms / 1000)
    if settings.listen:
        health.serve(settings.listen)
    spark = session(settings)
    try:
        run(spark, settings, health, stop)
        return 0
    except (flags.Refused, Py4JJavaError, PySparkException) as error:
        print(f"error: {cause(error)}", file=sys.stderr)
        return 1
    finally:
        spark.stop()


def session(settings):
    """Spark, on this machine unless spark-submit said otherwise."""
    builder = SparkSession.builder.appName(f"fireworks-generate-{settings.topic}")
    conf = {
        "spark.log.level": "WARN",
        "spark.sql.adaptive.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(settings.tasks),
    }
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        # Nobody else takes part: no port of Spark's is open to the network. One quick compiler and a plain collector:
        # measured on small batches, they halve what a batch and the start cost.
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        conf |= {
            "spark.master": f"local[{settings.tasks}]",
            "spark.driver.memory": "512m",
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
        }
    for name, value in (conf | settings.conf).items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def run(spark, settings, health, stop):
    """Looks where to go on, and writes until the last row or until asked to stop."""
    health.waits_for = "the topic"
    topic = Topic(spark, settings)
    topic.ensure()
    checkpoint = progress.Checkpoint(spark, settings.checkpoint)
    last, planned = checkpoint.last()
    tail = topic.tail()
    leg = progress.choose(last, planned, tail, settings.start_timestamp, settings.advance_ms, progress.now_ms())
    log.info("the topic `%s` ends with %s, the checkpoint with %s", settings.topic,
             "no row" if tail is None else f"row {tail[0]}", planned or "no batch")
    is_at_end = settings.end is not None and tail is not None and tail[0] + 1 >= settings.end
    if is_at_end and (leg != last or planned is None or planned.is_committed):
        log.info("row %s is there already: nothing to do", settings.end - 1)
        return
    log.info("going on with %s, devices=%s", leg.name, len(settings.devices))
    health.waits_for = "the first batch"
    query = start(spark, settings, leg, checkpoint.path(leg))
    watch(query, settings, leg, health, stop)


def readings(spark, settings, leg):
    """The rows of rate-micro-batch, each joined to every device: key, value, and the timestamp as a header."""
    rows = (
        spark.readStream.format("rate-micro-batch")
        .option("rowsPerBatch", settings.rows_per_batch)
        .option("numPartitions", 1)
        .option("startTimestamp", leg.at)
        .option("advanceMillisPerBatch", settings.advance_ms)
        .load()
        .select((f.col("value") + leg.row).alias("index"), "timestamp")
    )
    if settings.end is not None:
        rows = rows.where(f.col("index") < settings.end)
    joined = rows.crossJoin(f.broadcast(table(spark, settings.devices)))
    if settings.tasks > 1:
        # By device, so that each one's readings stay in order.
        joined = joined.repartition(settings.tasks, "device_id")
    noise = f.xxhash64("device_id", "index")
    reading = f.struct(
        "device_id",
        "index",
        f.date_format("timestamp", "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'").alias("event_time"),
        (f.shiftrightunsigned(noise, 11).cast("double") * f.lit(2.0**-53)).alias("magnitude"),
        f.when(noise.bitwiseAND(f.lit(1)) == 1, 1).otherwise(-1).alias("direction"),
        "drift",
        "volatility",
    )
    # RecordTimestamp takes it off again.
    millis = f.unix_millis("timestamp").cast("string").cast("binary")
    header = f.struct(f.lit("timestamp").alias("key"), millis.alias("value"))
    return joined.select(
        f.col("device_id").alias("key"), f.to_json(reading).alias("value"), f.array(header).alias("headers")
    )


def table(spark, devices):
    """The device table, as rows of the plan itself: from an RDD, each batch would begin with a job to fetch it."""
    fetched = spark.createDataFrame(devices, "device_id STRING, drift DOUBLE, volatility DOUBLE")
    rows = fetched._jdf.collectAsList()
    return DataFrame(spark._jsparkSession.createDataFrame(rows, fetched._jdf.schema()), spark)


def start(spark, settings, leg, checkpoint):
    """Starts the query: one micro-batch a trigger, into the Kafka sink."""
    known = spark._jvm.org.apache.kafka.clients.producer.ProducerConfig.configNames()
    options = {}
    for name, value in settings.properties.items():
        if known.contains(name):
            options[f"kafka.{name}"] = value
        else:
            log.warning("-X %s is nothing that Java clients know: left out", name)
    return (
        readings(spark, settings, leg).writeStream.queryName("generate").format("kafka").options(**options)
        .option("kafka.bootstrap.servers", settings.bootstrap_servers)
        .option("kafka.client.id", "fireworks")
        .option("kafka.interceptor.classes", "fireworks.RecordTimestamp")
        .option("topic", settings.topic)
        .option("checkpointLocation", checkpoint)
        .trigger(processingTime=f"{settings.interval_ms} milliseconds")
        .start()
    )


def watch(query, settings, leg, health, stop):
    """The loop: tells what is committed, and stops the query between two batches."""
    seen = None
    while query.isActive:
        health.turns()
        at = query.lastProgress
        if at is not None and at["batchId"] != seen:
            if seen is None:
                first, before = leg.row + row_of(at, "startOffset"), at["batchId"]
            seen = at["batchId"]
            end = leg.row + row_of(at, "endOffset")
            health.commits(seen - before + 1, (end - first) * len(settings.devices))
            if settings.end is not None and end >= settings.end:
                query.stop()
                log.info("row %s is written: done", settings.end - 1)
                return
        if stop.wait(LOOK):
            drain(query)
            log.info("stopped as asked")
            return
    query.awaitTermination()  # raises what ended it


def drain(query):
    """Stops between two batches, so that none is cut short and written again, unless that takes too long."""
    deadline = time.monotonic() + DRAIN
    while query.isActive and query.status["isTriggerActive"] and time.monotonic() < deadline:
        time.sleep(LOOK)
    query.stop()


def row_of(at, which):
    """The row of an offset in a query's progress, where it is the text of a dictionary."""
    offset = at["sources"][0][which]
    return 0 if offset in (None, "None") else ast.literal_eval(offset)["offset"]


def cause(error):
    """The first line, and the innermost cause, of what Spark or Kafka threw."""
    if isinstance(error, Py4JJavaError):
        thrown = error.java_exception
        while thrown.getCause() is not None:
            thrown = thrown.getCause()
        return thrown.toString()
    return str(error).split("\n\n")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
