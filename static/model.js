// The picture as the browser knows it: what the messages of the server add up to.
//
// Pure data: no page, no clock, no connection. Messages are idempotent, so one that overlaps the snapshot
// does no harm; one that leaves a gap is refused, and the caller fetches a snapshot.

/** A device: its number, name, newest point and one value a column (null where it has none). */
class Device {
  constructor(i, id, columns) {
    this.i = i;
    this.id = id;
    this.latest = null;
    this.values = new Array(columns).fill(null);
  }
}

export class Model {
  constructor() {
    this.clear();
  }

  clear() {
    this.seq = -1;
    this.about = null;
    this.now = null;
    this.bad = { total: 0, reasons: {}, samples: [] };
    this.top = [];
    this.pool = null;
    this.devices = new Map();
    // What is known of all devices together: columns by number, in order.
    this.columns = new Map();
    // The columns that all devices share: bucket numbers, and the same as seconds.
    this.buckets = [];
    this.times = [];
    // Grows whenever the set of lines or their colours change.
    this.generation = (this.generation ?? 0) + 1;
  }

  /** Takes a message. Returns false where messages before it are missing. */
  apply(message) {
    if (message.about) {
      if (message.about.epoch === this.about?.epoch && message.seq <= this.seq) return true;
      this.clear();
      this.about = message.about;
    } else if (message.seq <= this.seq) {
      return true;
    } else if (!this.about || message.seq !== this.seq + 1) {
      return false;
    }
    this.seq = message.seq;
    this.now = message.now;
    if (message.bad) this.bad = message.bad;
    for (const i of message.left ?? []) this.devices.delete(i);
    let isOther = false;
    for (const path of message.series ?? []) isOther = this.#enter(path) || isOther;
    if (message.points) this.#set(message.points);
    for (const latest of message.latest ?? []) {
      const device = this.devices.get(latest.i);
      if (device) device.latest = latest;
    }
    for (const column of message.columns ?? []) this.columns.set(column.b, column);
    if (message.pool !== undefined) this.pool = message.pool;
    if (message.top) this.top = message.top;
    if (message.top || isOther || message.left) this.generation++;
    this.#trim();
    return true;
  }

  /** The coloured devices with their colours' numbers, and the others. */
  lines() {
    const coloured = [];
    this.top.forEach((i, colour) => {
      const device = i === null ? undefined : this.devices.get(i);
      if (device) coloured.push({ device, colour });
    });
    const top = new Set(this.top);
    const others = [...this.devices.values()].filter((device) => !top.has(device.i));
    return { coloured, others };
  }

  /** A device by its name. */
  find(id) {
    for (const device of this.devices.values()) if (device.id === id) return device;
    return null;
  }

  /** The columns of all devices that end between two times (seconds), in order. */
  crowd(min, max) {
    const seconds = this.about.column_ms / 1000;
    const columns = [...this.columns.values()].filter(({ b }) => (b + 1) * seconds >= min && b * seconds <= max);
    return columns.sort((a, b) => a.b - b.b);
  }

  /** The index of the last column of times that isn't after `time`; -1 where there is none. */
  indexAt(time) {
    let low = 0;
    let high = this.times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= time) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** When the fan begins, in seconds; null where there is no theory. */
  anchor() {
    const theory = this.now?.theory;
    return theory ? ((theory.anchor + 1) * this.about.column_ms) / 1000 : null;
  }

  /** A device's value at a time, the last one before it or else the first one after it. */
  valueAt(device, time) {
    const { values } = device;
    const at = this.indexAt(time);
    for (let n = at; n >= 0 && at - n < 40; n--) if (values[n] !== null) return values[n];
    for (let n = at + 1; n < values.length; n++) if (values[n] !== null) return values[n];
    return null;
  }

  /** Takes a whole path. Returns whether it is another device's than before: a known one's is only filled anew. */
  #enter(path) {
    const known = this.devices.get(path.i);
    const isOther = known?.id !== path.id;
    const device = isOther ? new Device(path.i, path.id, this.buckets.length) : known;
    if (isOther) this.devices.set(path.i, device);
    else device.values.fill(null);
    let bucket = 0;
    path.b.forEach((difference, n) => {
      bucket += difference;
      device.values[this.#column(bucket)] = path.y[n];
    });
    return isOther;
  }

  #set(points) {
    points.i.forEach((i, n) => {
      const device = this.devices.get(i);
      if (device) device.values[this.#column(points.b[n])] = points.y[n];
    });
  }

  /** The column of a bucket, made where there is none. */
  #column(bucket) {
    const { buckets } = this;
    let low = buckets.length;
    if (low > 0 && buckets[low - 1] >= bucket) {
      low = 0;
      let high = buckets.length - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (buckets[middle] < bucket) low = middle + 1;
        else high = middle;
      }
      if (buckets[low] === bucket) return low;
    }
    buckets.splice(low, 0, bucket);
    this.times.splice(low, 0, (bucket * this.about.bucket_ms) / 1000);
    for (const device of this.devices.values()) device.values.splice(low, 0, null);
    return low;
  }

  /** Lets go of columns that have left the window, many at a time. */
  #trim() {
    const { head } = this.now;
    if (head === null) return;
    const { window_ms: window, bucket_ms: bucket } = this.about;
    const first = (head - 1.1 * window) / bucket;
    const last = (head + window) / bucket;
    const { column_ms: column } = this.about;
    for (const b of this.columns.keys()) {
      if (b < (head - 1.1 * window) / column || b > (head + window) / column) this.columns.delete(b);
    }
    const old = this.buckets.findIndex((number) => number >= first);
    if (old > 60) this.#drop(0, old);
    const end = this.buckets.findLastIndex((number) => number <= last) + 1;
    if (end < this.buckets.length) this.#drop(end, this.buckets.length - end);
  }

  #drop(from, count) {
    this.buckets.splice(from, count);
    this.times.splice(from, count);
    for (const device of this.devices.values()) device.values.splice(from, count);
  }
}
