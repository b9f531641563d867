// The page: takes messages in, draws a frame when something moved, and answers the viewer.
//
// Receiving and drawing are apart: a message only changes the model, and one animation frame draws it.

import { Chart } from "./chart.js";
import { connect } from "./connection.js";
import { showDetail } from "./detail.js";
import { Dialogs } from "./dialogs.js";
import { Finder } from "./finder.js";
import * as format from "./format.js";
import { listen, panned, zoomed } from "./gestures.js";
import { List } from "./list.js";
import { Model } from "./model.js";
import { Panel } from "./panel.js";
import { PaintDelay, notesOf, numbersOf, stateOf } from "./status.js";
import { inside } from "./theory.js";
import { fillTooltip } from "./tooltip.js";
import { View } from "./view.js";

/** Messages that are held during a pause; after more, going on takes a fresh picture. */
const HELD = 3000;
const TEXT_MS = 250;
const CLOCK_MS = 60000;
const WINDOWS = [30, 60, 300, 900, 3600, 21600, 86400, 604800];

const at = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)");

const model = new Model();
const delay = new PaintDelay();
const choice = new View();
const view = { epoch: null, up: true, paused: false, held: [], heldNow: null, heldRecords: 0, missed: 0, clockAhead: 0, end: null, frame: 0, text: 0, turned: false };
let isDirty = true;
let unpainted = null;
/** What has come since messages were found to be missing, while a snapshot is fetched. */
let since = null;
let hovered = null;

const chart = new Chart(at("chart"), model, {
  onHover: (under) => fillTooltip(at("tooltip"), at("chart"), under, model.about.bucket_ms),
  onSelect: (min, max) => lookAt({ min, max }),
  onBuild(plot) {
    listen(plot, lookAt);
    plot.over.addEventListener("dblclick", goLive);
  },
});
const panel = new Panel(at("panel"), model, () => chart.axisSize);
const list = new List(at("legend"), { view: choice, onIsolate: isolate, onPin: pin, onFocus: focus, onSort: () => choice.write() });
const finder = new Finder({ view: choice, model, onPin: pin, onText: (text) => list.search(text) });
const dialogs = new Dialogs({
  model,
  delay,
  range,
  lines: () => chart.shown(),
  flush: () => choice.flush(),
  canvases: () => [...document.querySelectorAll("#chart canvas, #panel canvas")],
});

// ── in ──────────────────────────────────────────────────────────────────────────────────────────────

function receive(event) {
  if (event.missed) view.missed += event.missed;
  if (event.up === false) view.up = false;
  if (event.message === undefined) return;
  view.up = true;
  const message = JSON.parse(event.message);
  const epoch = message.about?.epoch ?? event.id.split("-")[0];
  if (epoch !== view.epoch) {
    // A server that has just started knows less than this page: its first picture is waited for.
    if (model.times.length > 0 && !hasPicture(message)) {
      if (view.paused) view.heldNow = { ...model.now, state: message.now.state };
      else model.now = { ...model.now, state: message.now.state };
      return;
    }
    if (!message.about) return resync({ message, epoch });
  }
  accept({ message, epoch });
}

function accept({ message, epoch }) {
  if (message.about) {
    view.epoch = message.about.epoch;
    since = null;
  }
  if (since) return resync({ message, epoch });
  if (!view.paused) take(message, epoch);
  else hold(message, epoch);
}

const hasPicture = ({ series, now }) => series?.length > 0 || ["live", "empty", "missing"].includes(now.state.kind);

function take(message, epoch = model.about?.epoch) {
  if (!model.apply(message)) return resync({ message, epoch });
  // A snapshot may be older than our being here; of several messages in a frame the first one waits longest.
  if (!message.about) unpainted ??= message.now.at;
  isDirty = true;
}

function hold(message, epoch) {
  view.heldRecords = Math.max(0, message.now.records - model.now.records);
  view.heldNow = message.now;
  if (message.about) view.held.length = 0;
  if (view.held.length < HELD) view.held.push({ message, epoch });
}

/** Messages are missing before this one: a snapshot fills the gap, and what has come meanwhile follows it. */
async function resync(first) {
  if (since) {
    since = [...since.slice(-HELD), first];
    return;
  }
  since = [first];
  while (since) {
    try {
      const response = await fetch(choice.ask("/api/snapshot"));
      if (!response.ok) throw new Error(response.statusText);
      const snapshot = await response.json();
      // The stream itself has brought a picture meanwhile.
      if (!since) return;
      const { epoch } = snapshot.about;
      const missed = since.filter((event) => event.epoch === epoch && event.message.seq > snapshot.seq);
      // It may be of a second ago; then the next one reaches up to what has come.
      if ((missed[0]?.message.seq ?? 0) <= snapshot.seq + 1) {
        since = null;
        [{ message: snapshot, epoch }, ...missed].forEach(accept);
        return;
      }
    } catch {
      view.up = false;
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** How far the server's clock is ahead of ours, by half the way there and back: the quickest of a few ways. */
async function compareClocks() {
  let best = Infinity;
  for (let n = 0; n < 3; n++) {
    try {
      const sent = Date.now();
      const theirs = await (await fetch("/api/time")).json();
      const way = Date.now() - sent;
      if (way >= best) continue;
      best = way;
      view.clockAhead = theirs - (sent + way / 2);
    } catch {
      // The last comparison holds; the badge says that the server is away.
      return;
    }
  }
}

const serverNow = () => Date.now() + view.clockAhead;

// ── out ─────────────────────────────────────────────────────────────────────────────────────────────

/** The end of the axis: the clock's now where event times are the clock's, else the newest event time. */
function endOfAxis(elapsed) {
  const { head, current } = model.now;
  if (head === null) return null;
  let target = head;
  if (current) {
    // A topic gone silent shows its silence, and then stays in the picture.
    const slack = Math.min(30000, Math.max(3000, model.about.window_ms / 10));
    target = Math.max(head, Math.min(serverNow(), head + slack));
  }
  const apart = target - (view.end ?? target);
  const isJump = view.end === null || Math.abs(apart) > model.about.window_ms || still.matches;
  view.end = isJump ? target : view.end + apart * (1 - Math.exp(-elapsed / 150));
  return view.end / 1000;
}

/** The times that are shown, in seconds. */
function range() {
  if (choice.range) return choice.range;
  const end = (view.end ?? model.now.head ?? Date.now()) / 1000;
  const window = Math.min(choice.window ?? Infinity, model.about.window_ms / 1000);
  return { min: end - window, max: end + window * 0.012 };
}

function frame(now) {
  requestAnimationFrame(frame);
  const elapsed = now - view.frame;
  if (still.matches && elapsed < 1000 && !view.turned) return;
  view.turned = false;
  view.frame = now;
  if (!view.paused && model.now) endOfAxis(elapsed);
  if (view.end !== null) {
    const { min, max } = range();
    const wasDirty = isDirty;
    const drawn = chart.drawn.at;
    if (chart.draw(min, max, now, isDirty)) isDirty = false;
    if (chart.drawn.at !== drawn) panel.draw(min, max, wasDirty);
  }
  if (unpainted !== null && !isDirty) {
    delay.add(serverNow() - unpainted);
    unpainted = null;
  }
  if (now - view.text >= TEXT_MS) {
    view.text = now;
    write(now);
  }
}

function put(id, text) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
}

function write(now) {
  if (!model.now) return;
  const { up, paused, heldNow, heldRecords: held, missed } = view;
  const state = stateOf({ model, latest: (paused && heldNow) || model.now, up, paused, held, serverNow: serverNow() });
  at("badge").dataset.kind = state.kind;
  at("picture").dataset.kind = state.kind;
  put("state", state.label);
  put("detail", state.detail);
  writeEmpty(state.empty);
  writePicture();
  if (!paused) {
    for (const [name, text] of Object.entries(numbersOf(model, delay))) put(name, text);
    at("bad-open").classList.toggle("is-bad", model.now.bad > 0);
  }
  put("help", state.help ?? "");
  put("notes", notesOf({ model, missed, serverNow: serverNow() }).join("  "));
  at("list").hidden = model.devices.size === 0;
  finder.update(list.update(model, now, chart.span));
  const only = choice.only.size === 1 ? model.find([...choice.only][0]) : null;
  showDetail(model, (hovered === null ? null : model.devices.get(hovered)) ?? only);
  describe();
}

/** What the picture is of, and which of its controls make sense. */
function writePicture() {
  const { field, theory, crowd } = model.now;
  put("field", field ?? "value");
  put("field-how", chart.hasFan ? "from one start" : "by event time");
  put("value-head", field ?? "latest");
  put("panel-title", theory ? "share of devices inside the fan" : "messages a second");
  at("modes").hidden = !theory;
  for (const button of at("modes").children) button.setAttribute("aria-pressed", String(button.dataset.mode === choice.mode));
  at("fan-caption").hidden = !theory;
  document.documentElement.classList.toggle("is-crowd", crowd);
  at("live").disabled = !view.paused;
  at("show-all").disabled = choice.only.size === 0;
  if (!theory) return;
  const { min, max } = range();
  const shares = inside(model.crowd(min, max));
  put("inside-1", shares ? `${Math.round(shares.one * 100)} %` : "–");
  put("inside-2", shares ? `${Math.round(shares.two * 100)} %` : "–");
}

let emptyShown = "";
function writeEmpty(empty) {
  const key = JSON.stringify(empty ?? null);
  if (key === emptyShown) return;
  emptyShown = key;
  at("empty").hidden = !empty;
  if (!empty) return;
  put("empty-title", empty.title);
  put("empty-text", empty.text);
  at("empty-run").replaceChildren(
    ...empty.run.map((command) => {
      const code = document.createElement("code");
      code.textContent = command;
      return code;
    }),
  );
}

/** For those who can't see the canvas; seldom, so that it doesn't talk over everything. */
let described = 0;
function describe() {
  const now = Date.now();
  if (now - described < 10000) return;
  described = now;
  const { coloured } = model.lines();
  const named = coloured.slice(0, 5).map(({ device }) => `${format.name(device.id)} at ${format.value(device.latest?.value)}`);
  const what = model.now.crowd ? "Spread" : "Paths";
  at("chart").setAttribute("aria-label", `${what} of ${model.now.devices} devices over event time. ${named.join(", ")}`);
}

// ── the viewer ──────────────────────────────────────────────────────────────────────────────────────

function pause(isPaused = !view.paused) {
  view.paused = isPaused;
  view.turned = true;
  view.text = 0;
  at("pause").setAttribute("aria-pressed", String(isPaused));
  put("pause-text", isPaused ? "Resume" : "Pause");
  document.documentElement.classList.toggle("is-paused", isPaused);
  if (isPaused) return;
  if (choice.range) {
    choice.range = null;
    choice.write();
  }
  const { held } = view;
  view.held = [];
  view.heldNow = null;
  view.heldRecords = 0;
  isDirty = true;
  held.forEach(accept);
}

/** Looks at a part of the past, which pauses. */
function lookAt(wanted) {
  const newest = view.end ?? model.now?.head ?? null;
  if (newest === null || !(wanted.max - wanted.min > 0.2)) return;
  const end = newest / 1000;
  const window = model.about.window_ms / 1000;
  const length = Math.min(window * 1.02, wanted.max - wanted.min);
  const max = Math.min(Math.max(wanted.max, end - window + length), end + window * 0.012);
  choice.range = { min: max - length, max };
  choice.write();
  isDirty = true;
  view.turned = true;
  if (!view.paused) pause(true);
}

function goLive() {
  if (view.paused) pause(false);
  chart.hideCursor();
}

function redraw() {
  isDirty = true;
  view.turned = true;
  view.text = 0;
}

function isolate(id, isBeside) {
  const wasAlone = choice.only.has(id) && (isBeside || choice.only.size === 1);
  if (!isBeside) choice.only.clear();
  if (wasAlone) choice.only.delete(id);
  else choice.only.add(id);
  showOnly();
}

function showOnly() {
  chart.isolate(choice.only, choice.pins);
  list.refresh();
  choice.write();
  redraw();
}

function pin(id) {
  if (!choice.pins.delete(id)) choice.pins.add(id);
  finder.want();
  showOnly();
}

function focus(i) {
  hovered = i;
  chart.focus(i);
  view.text = 0;
}

function setMode(mode) {
  choice.mode = mode;
  chart.isFan = mode === "fan";
  chart.rebuild();
  choice.write();
  redraw();
}

const THEMES = ["auto", "light", "dark"];
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  at("theme").title = `Theme: ${theme} (T)`;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // Private windows may keep nothing; the theme lasts as long as the page.
  }
  chart.rebuild();
  panel.rebuild();
  redraw();
}

function nextTheme() {
  const now = document.documentElement.dataset.theme ?? "auto";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
}

const keys = {
  p: () => pause(),
  " ": () => pause(),
  t: nextTheme,
  f: () => model.now.theory && setMode(choice.mode === "fan" ? "position" : "fan"),
  a: () => (choice.only.clear(), showOnly()),
  "/": () => at("search").focus(),
  "?": () => dialogs.help(),
  "+": () => lookAt(zoomed(range(), 0.7)),
  "=": () => lookAt(zoomed(range(), 0.7)),
  "-": () => lookAt(zoomed(range(), 1.4)),
  0: goLive,
  ArrowLeft: (event) => move(event, -1),
  ArrowRight: (event) => move(event, 1),
  Escape: goLive,
};

function move(event, by) {
  if (at("stage").contains(document.activeElement)) chart.moveCursor(by * (event.shiftKey ? 10 : 1));
  else lookAt(panned(range(), by * (event.shiftKey ? 0.5 : 0.1)));
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || dialogs.isOpen) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!Object.hasOwn(keys, key) || event.target.closest?.("input, select, textarea, [popover]")) return;
  if (key === " " && event.target.closest?.("button, a")) return;
  // Some dictate, and say letters: single keys can be switched off. Those of the picture work in it.
  const isInPicture = at("stage").contains(event.target);
  if (!at("single-keys").checked && !isInPicture && key !== "Escape") return;
  event.preventDefault();
  keys[key](event);
}

function offerWindows() {
  const whole = model.about.window_ms / 1000;
  const offered = [...WINDOWS.filter((seconds) => seconds < whole), whole];
  at("window-select").replaceChildren(
    ...offered.map((seconds) => {
      const option = new Option(format.duration(seconds * 1000).replace(/ 00 (s|min)$/, ""), seconds);
      option.selected = seconds === (choice.window ?? whole);
      return option;
    }),
  );
}

at("pause").onclick = () => pause();
at("theme").onclick = nextTheme;
at("live").onclick = goLive;
at("zoom-in").onclick = keys["+"];
at("zoom-out").onclick = keys["-"];
at("show-all").onclick = keys.a;
at("stage").addEventListener("blur", () => chart.hideCursor());
for (const button of at("modes").children) button.onclick = () => setMode(button.dataset.mode);
at("window-select").onchange = ({ target }) => {
  choice.window = Number(target.value) < model.about.window_ms / 1000 ? Number(target.value) : null;
  choice.range = null;
  choice.write();
  redraw();
};
addEventListener("keydown", onKey);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme(document.documentElement.dataset.theme ?? "auto"));
// A page from the back-forward cache has lost its connection and missed what came since.
addEventListener("pageshow", (event) => event.persisted && location.reload());

chart.isStill = still.matches;
chart.isFan = choice.mode === "fan";
chart.only = choice.only;
chart.pins = choice.pins;
try {
  setTheme(localStorage.getItem("theme") ?? "auto");
  at("single-keys").checked = localStorage.getItem("single-keys") !== "off";
  at("single-keys").onchange = ({ target }) => localStorage.setItem("single-keys", target.checked ? "on" : "off");
} catch {
  setTheme("auto");
}
accept({ message: JSON.parse(at("snapshot").textContent) });
offerWindows();
if (choice.range) lookAt(choice.range);
connect(choice.ask("/api/stream"), `${model.about.epoch}-${model.seq}`, receive);
compareClocks();
setInterval(compareClocks, CLOCK_MS);
requestAnimationFrame(frame);

// For tests, and for those who open the console.
globalThis.fireworks = { model, view, choice, chart, panel, pause };
