"""Where to go on: in Spark's checkpoint, unless the topic ends elsewhere.

Spark's source always begins at row 0. So that this application and `fireworks generate` can take each other's place at
any row, the checkpoint folder holds legs, each a checkpoint of Spark's own: `from-<row>-at-<ms>` begins with that row at
that event time. A new leg begins where the topic ends and the last leg doesn't: at first, after another writer, and after
--batches has cut the last batch.
"""

import json
import time
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Leg:
    """A run of rows from `row` on, whose first batch has the timestamp `at`, in milliseconds."""

    row: int
    at: int

    @property
    def name(self):
        return f"from-{self.row:019}-at-{self.at}"

    @staticmethod
    def of(name):
        """The leg of a folder's name; None for other folders."""
        parts = name.split("-")
        if len(parts) == 4 and parts[0] == "from" and parts[2] == "at" and (parts[1] + parts[3]).isdigit():
            return Leg(int(parts[1]), int(parts[3]))
        return None


@dataclass(frozen=True)
class Planned:
    """The last batch that a leg has planned: its first row, the row after its last, and whether it is committed."""

    start: int
    next: int
    is_committed: bool


def choose(leg, planned, tail, start_timestamp, advance_ms, now_ms):
    """The leg to go on with. `tail` is the topic's last row and its timestamp in milliseconds, or None.

    A planned batch that isn't committed is written again by its leg, whether it is in the topic or not.
    """
    if tail is None:
        begin = Leg(0, now_ms // 1000 * 1000 if start_timestamp is None else start_timestamp)
    else:
        begin = Leg(tail[0] + 1, tail[1] + advance_ms)
    if leg is None:
        return begin
    if tail is None:
        return leg
    fits = {leg.row} if planned is None else (
        {planned.next} if planned.is_committed else range(planned.start, planned.next + 1))
    return leg if begin.row in fits else begin


class Checkpoint:
    """The folder of the legs, by way of Hadoop's file systems, as Spark itself goes."""

    def __init__(self, spark, folder):
        self.jvm = spark._jvm
        self.configuration = spark._jsc.hadoopConfiguration()
        self.folder = folder.rstrip("/")

    def last(self):
        """The last leg and what it has planned."""
        legs = [leg for leg in map(Leg.of, self.names(self.folder)) if leg]
        if not legs:
            return None, None
        leg = max(legs)
        return leg, self.planned(leg)

    def planned(self, leg):
        path = self.path(leg)
        batches = self.numbers(f"{path}/offsets")
        if not batches:
            return None
        last = batches[-1]
        start = self.offset(path, last - 1) if last - 1 in batches else 0
        is_committed = last in self.numbers(f"{path}/commits")
        return Planned(leg.row + start, leg.row + self.offset(path, last), is_committed)

    def path(self, leg):
        return f"{self.folder}/{leg.name}"

    def offset(self, path, batch):
        """The row, from the leg's first, before which a batch ends."""
        path = self.jvm.org.apache.hadoop.fs.Path(f"{path}/offsets/{batch}")
        stream = path.getFileSystem(self.configuration).open(path)
        try:
            text = self.jvm.org.apache.commons.io.IOUtils.toString(stream, "UTF-8")
        finally:
            stream.close()
        return json.loads(text.splitlines()[-1])["offset"]

    def numbers(self, folder):
        return sorted(int(name) for name in self.names(folder) if name.isdigit())

    def names(self, folder):
        path = self.jvm.org.apache.hadoop.fs.Path(folder)
        files = path.getFileSystem(self.configuration)
        return [status.getPath().getName() for status in files.listStatus(path)] if files.exists(path) else []


def now_ms():
    return time.time_ns() // 1_000_000
