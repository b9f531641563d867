"""The last 100 readings of a device and its path, for the two peers in Python.

A reading that comes last, as nearly all do, costs no loop in Python: the sum over the window is `sum` of a list that is
kept, the counts of pairs are moved on, and the inverse normal distribution function is the one in C that `statistics`
wraps. Any other place computes the path again from there on.
"""

from bisect import bisect_left
from datetime import datetime, timezone
from functools import lru_cache
from math import sqrt
from struct import Struct

from _statistics import _normal_dist_inv_cdf as inverse_cdf

CAPACITY = 100
STORED = Struct("<qqddddi")


# The readings of one time come close together.
@lru_cache(10_000)
def millis(text):
    instant = datetime.fromisoformat(text)
    return int(instant.timestamp()) * 1000 + instant.microsecond // 1000


@lru_cache(10_000)
def iso(millis):
    instant = datetime.fromtimestamp(millis // 1000, timezone.utc)
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{millis % 1000:03}Z"


class Held:
    """A reading held. `increment` leads to it; None for the window's first, and where no time has passed."""

    __slots__ = ("time", "index", "position", "draw", "drift", "volatility", "revision", "slot", "increment")

    def __init__(self, time, index, draw, drift, volatility, slot, position=0.0, revision=0):
        self.time = time
        self.index = index
        self.position = position
        self.draw = draw
        self.drift = drift
        self.volatility = volatility
        self.revision = revision
        self.slot = slot
        self.increment = None

    def order(self):
        return self.time, self.index

    def stored(self):
        """What a restart needs of it, beside its slot."""
        return STORED.pack(
            self.time, self.index, self.position, self.draw, self.drift, self.volatility, self.revision
        )


def restored(slot, value):
    time, index, position, draw, drift, volatility, revision = STORED.unpack(value)
    return Held(time, index, draw, drift, volatility, slot, position, revision)


class Window:
    __slots__ = ("held", "squares", "ups", "pairs")

    def __init__(self, held=()):
        self.held = sorted(held, key=Held.order)
        self._clear()
        for before, one in zip([None, *self.held], self.held):
            self._count(one, before)

    def insert(self, reading):
        """Puts a reading where it belongs. Returns the readings whose steps are new or changed, each with its step:
        none for a duplicate and for one that is too late."""
        held = self.held
        time = millis(reading["event_time"])
        index = reading["index"]
        place = len(held)
        if held:
            last = held[-1]
            if time < last.time or (time == last.time and index <= last.index):
                place = bisect_left(held, (time, index), key=Held.order)
                if held[place].time == time and held[place].index == index:
                    return ()
        is_full = len(held) == CAPACITY
        if is_full and place == 0:
            return ()
        draw = -reading["direction"] * inverse_cdf((1 - reading["magnitude"]) / 2, 0.0, 1.0)
        slot = held[0].slot if is_full else len(held)
        new = Held(time, index, draw, reading["drift"], reading["volatility"], slot)
        before = held[place - 1] if place else None
        if place == len(held):
            if is_full:
                self._drop_first()
            held.append(new)
            return ((new, self._step(reading["device_id"], len(held), new, before)),)
        if is_full:
            del held[0]
            place -= 1
        held.insert(place, new)
        return self._walk(reading["device_id"], place, before)

    def _drop_first(self):
        held = self.held
        del held[0]
        first = held[0]
        increment = first.increment
        if increment is None:
            return
        first.increment = None
        del self.squares[0]
        if increment:
            ups = self.ups
            up = ups.pop(0)
            if ups:
                self.pairs[2 * up + ups[0]] -= 1

    def _walk(self, device_id, place, before):
        held = self.held
        self._clear()
        for i in range(place):
            self._count(held[i], held[i - 1] if i else None)
        changed = []
        for i in range(place, len(held)):
            one = held[i]
            position = one.position
            one.revision += i > place
            changed.append((one, self._step(device_id, i + 1, one, before)))
            before = one
            if i > place and one.position == position:
                break
        for i in range(i + 1, len(held)):
            self._count(held[i], held[i - 1])
        return changed

    def _clear(self):
        self.squares = []  # ΔX² / dt of each increment
        self.ups = []  # of each increment but those of 0: whether it went up
        self.pairs = [0, 0, 0, 0]  # down after down, up after down, down after up, up after up

    def _count(self, one, before):
        """Counts the increment that leads from one reading held to the next."""
        one.increment = None
        if before is None:
            return
        dt = (one.time - before.time) / 1000
        if dt > 0:
            one.increment = increment = one.position - before.position
            self.squares.append(increment * increment / dt)
            if increment:
                up = increment > 0
                ups = self.ups
                if ups:
                    self.pairs[2 * ups[-1] + up] += 1
                ups.append(up)

    def _step(self, device_id, n, one, before):
        """Computes the position of a reading, the n-th in the window, all before it being counted, and counts it."""
        held = self.held
        first = held[0]
        time = one.time
        dt = step = position = 0.0
        previous = drift = volatility = None
        if before is not None:
            dt = (time - before.time) / 1000
            step = one.drift * dt + one.volatility * sqrt(dt) * one.draw
            position = before.position + step
            previous = {"index": before.index, "event_time": iso(before.time), "position": before.position}
        one.position = position
        self._count(one, None if one is first else before)
        squares = self.squares
        if squares:
            span = (time - first.time) / 1000
            drift = (position - first.position) / span
            if len(squares) > 1:
                rest = sum(squares) - drift * drift * span
                volatility = sqrt(rest / (len(squares) - 1)) if rest > 0 else 0.0
        down_down, down_up, up_down, up_up = self.pairs
        return {
            "device_id": device_id,
            "index": one.index,
            "event_time": iso(time),
            "revision": one.revision,
            "position": position,
            "step": step,
            "dt": dt,
            "previous": previous,
            "window": {
                "n": n,
                "drift": drift,
                "volatility": volatility,
                "up_up": up_up,
                "up_down": up_down,
                "down_up": down_up,
                "down_down": down_down,
            },
        }
