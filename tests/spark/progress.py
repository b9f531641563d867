"""Where to go on, as a function of what the checkpoint and the topic end with. Needs neither Spark nor Kafka."""

import os
import sys

sys.path.insert(0, os.getcwd())

from progress import Leg, Planned, choose  # noqa: E402

FIRST = Leg(0, 5000)
FOLLOWS = Leg(30, 10_000)


def chosen(leg, planned, tail, start=None):
    return choose(leg, planned, tail, start, advance_ms=1000, now_ms=7999)


for text, is_so in {
    "an empty topic begins at the second of the first start": chosen(None, None, None) == Leg(0, 7000),
    "or where it was told to": chosen(None, None, None, start=5000) == FIRST,
    "a topic that another has begun is gone on with": chosen(None, None, (29, 9000), start=5000) == FOLLOWS,
    "a leg that has planned nothing begins again": chosen(FIRST, None, None) == FIRST,
    "a committed batch that ends the topic is followed": chosen(FIRST, Planned(27, 30, True), (29, 9000)) == FIRST,
    "one that isn't committed is written again": all(
        chosen(FIRST, Planned(27, 30, False), (row, 9000)) == FIRST for row in (26, 27, 29)),
    "another's rows after it begin a leg": chosen(FIRST, Planned(24, 27, True), (29, 9000)) == FOLLOWS,
    "so they do when it isn't committed": chosen(FIRST, Planned(24, 27, False), (29, 9000)) == FOLLOWS,
    "what --batches has cut begins a leg": chosen(FIRST, Planned(30, 33, True), (29, 9000)) == FOLLOWS,
    "and so does a plan beyond it": chosen(FIRST, Planned(33, 36, False), (29, 9000)) == FOLLOWS,
    "a topic made anew is gone on with by the leg": chosen(FIRST, Planned(27, 30, True), None) == FIRST,
    "names of legs are read back": Leg.of(FOLLOWS.name) == FOLLOWS and Leg.of("from-x-at-1") is Leg.of("offsets") is None,
    "legs are in the order of their rows": max(Leg.of(Leg(9, 9).name), Leg.of(Leg(10, 1).name)) == Leg(10, 1),
}.items():
    assert is_so, text
