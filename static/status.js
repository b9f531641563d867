// What state the picture is in, said honestly: a badge, a line of help, and the headline numbers.
//
// Each cause of a picture that isn't the present has a shape, a text, and a way out of its own. The way out fits a
// line below the picture of 1280 pixels: the picture keeps its size.

import * as format from "./format.js";

/** What to run where a topic isn't there or is empty. */
function commands({ topic, kafka }) {
  if (topic === "markov") return ["fireworks demo", "fireworks generate  &  fireworks brownian"];
  if (topic === "readings") return ["fireworks demo", "fireworks generate"];
  return [`echo 'device-1:{"value": 1}' | kcat -P -b ${kafka} -t ${topic} -K :`];
}

/**
 * The state of the picture: `kind` gives the badge its shape and colour, `label` and `detail` say it, `help` says
 * what can be done, `empty` covers the chart while there is nothing to draw.
 */
export function stateOf({ model, latest, up, paused, held, serverNow }) {
  const state = livingState({ model, now: latest, up, serverNow });
  if (!paused) return state;
  const detail = `${format.count(held)} new · Space goes on`;
  // A pause must not hide that there is nothing to go on with.
  if (["link", "bad", "missing", "part"].includes(state.kind)) return { ...state, label: `Paused · ${state.label}`, empty: null };
  return { kind: "paused", label: "Paused", detail };
}

function livingState({ model, now, up, serverNow }) {
  const { about } = model;
  const { state } = now;
  const hasPicture = model.times.length > 0;
  const empty = (title, text, run = []) => (hasPicture ? null : { title, text, run });
  const help = (text) => (hasPicture ? text : "");
  if (!up) {
    return {
      kind: "link",
      label: "Reconnecting",
      detail: hasPicture ? "the last picture is kept" : "the dashboard doesn’t answer",
      help: help("Start the dashboard again if it was stopped: this page goes on by itself, without a gap."),
      empty: empty("The dashboard doesn’t answer", "It will be here as soon as it is back."),
    };
  }
  switch (state.kind) {
    case "down":
      return {
        kind: "bad",
        label: "No Kafka",
        detail: state.cause,
        help: help(`Start Kafka at ${about.kafka}, or check --bootstrap-servers: reading goes on where it was.`),
        empty: empty(`Kafka at ${about.kafka} doesn’t answer`, `Trying again until it does (${state.cause}).`, ["fireworks broker"]),
      };
    case "missing":
      return {
        kind: "missing",
        label: "No such topic",
        detail: `waiting for ${about.topic}`,
        help: help(`Topic “${about.topic}” was deleted. What it held stays here until it is made anew.`),
        empty: empty(`There is no topic “${about.topic}” yet`, "It is shown as soon as something makes it:", commands(about)),
      };
    case "connecting":
      return { kind: "wait", label: "Connecting", detail: "", empty: empty("Connecting to Kafka…", "A second, usually.") };
    case "loading": {
      const percent = `${Math.floor((100 * state.done) / Math.max(1, state.total))} %`;
      return { kind: "wait", label: "Loading history", detail: percent, empty: empty("Loading history…", percent) };
    }
  }
  if (now.leaderless?.length > 0) return withoutLeader({ now, about, hasPicture });
  if (state.kind === "empty") {
    return {
      kind: "idle",
      label: "No messages yet",
      detail: "",
      empty: empty(`Topic “${about.topic}” has no messages yet`, "They are shown as soon as they come:", commands(about)),
    };
  }
  const silence = now.arrived === null ? 0 : serverNow - now.arrived;
  if (silence > now.patience_ms) {
    return {
      kind: "stale",
      label: "Stale",
      detail: `nothing for ${format.duration(silence)}`,
      help: help("No message for longer than is usual here. Kafka answers: see whether the producer still runs."),
      empty: empty("Nothing that could be drawn", "Records came, but no device with a number. See the bad messages."),
    };
  }
  // So far behind that it takes seconds to be fresh again.
  if (now.lag > Math.max(500, 5 * now.rate)) {
    return {
      kind: "lag",
      label: "Catching up",
      detail: `${format.count(now.lag)} messages behind`,
      help: help("Messages come faster than they are read. If that lasts, it jumps to fresh ones and says so."),
      empty: empty("Catching up…", ""),
    };
  }
  const nothing = empty("Nothing that could be drawn", "Records come, but no device with a number. See the bad messages.");
  return { kind: "live", label: "Live", detail: "", empty: nothing };
}

/** What can't be read for want of a leader is missing in the picture, and the rest of it goes on. */
function withoutLeader({ now, about, hasPicture }) {
  const { leaderless, partitions } = now;
  const isOne = leaderless.length === 1;
  const isAll = leaderless.length === partitions;
  const listed = leaderless.slice(0, 4).join(", ") + (leaderless.length > 4 ? ", …" : "");
  const what = isOne ? `Partition ${listed} has` : `Partitions ${listed} have`;
  const remedy = isOne ? "Start its broker" : "Start their brokers";
  const rest = isAll ? "reading goes on where it was" : "the other partitions go on meanwhile";
  const text = `${what} no leader that answers. ${remedy}: ${rest}.`;
  const some = isOne ? `partition ${listed} has no leader` : `${leaderless.length} of ${partitions} partitions have no leader`;
  return {
    kind: "part",
    label: isAll ? "No leader" : "Incomplete",
    detail: isAll ? `nothing of ${about.topic} can be read` : some,
    help: hasPicture ? text : "",
    empty: hasPicture ? null : { title: `Topic “${about.topic}” can’t be read${isAll ? "" : " as a whole"} now`, text, run: [] },
  };
}

/** What the picture is not, in a line below it. */
export function notesOf({ model, missed, serverNow }) {
  const { now, about } = model;
  const notes = [];
  if (now.head !== null && !now.current) {
    const apart = now.head - serverNow;
    const where = apart < 0 ? "ago" : "ahead of the clock";
    notes.push(`Event time is ${format.day(new Date(now.head))}, ${format.duration(apart)} ${where}: the axis follows the data.`);
  }
  if (now.crowd) {
    notes.push(`${format.count(now.devices)} devices: their density and quantiles; a device is drawn when it is pinned or pointed at.`);
  } else if (now.devices > about.max_top) {
    notes.push(`The ${about.max_top} most active devices are in colour, the others in grey.`);
  }
  if (now.ahead > 0) {
    const whose = now.ahead === 1 ? "One device’s clock is" : `${format.count(now.ahead)} devices’ clocks are`;
    notes.push(`${whose} ahead of the others’: drawn when their time has come.`);
  }
  if (now.others > 0) notes.push(`${format.count(now.others)} messages of further devices are only counted.`);
  if (now.skipped > 0) notes.push(`Skipped ${format.count(now.skipped)} messages to stay with fresh ones.`);
  if (missed > 0) notes.push(`This browser missed ${format.count(missed)} updates and got the picture anew.`);
  return notes;
}

/** Latencies of the last seconds between the server's frame and the browser's paint. */
export class PaintDelay {
  #delays = [];

  add(ms) {
    this.#delays.push(Math.max(0, ms));
    if (this.#delays.length > 100) this.#delays.shift();
  }

  quantile(q) {
    const sorted = this.#delays.toSorted((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;
  }
}

/** The headline numbers as text, by the name of their place on the page. */
export function numbersOf(model, delay) {
  const { now } = model;
  const isSkewed = now.p50_ms !== null && now.p50_ms < -50;
  const whole = (ms, q) => (ms === null ? "–" : format.latency(Math.max(0, ms + delay.quantile(q))));
  return {
    devices: format.count(now.devices),
    rate: format.rate(now.rate),
    lag: format.count(now.lag),
    p50: isSkewed ? "clock skew" : whole(now.p50_ms, 0.5),
    p99: isSkewed ? format.latency(-now.p50_ms) : whole(now.p99_ms, 0.99),
    bad: format.count(now.bad),
  };
}
