// The paths of the devices over event time, or, where they are a crowd, how they spread.
//
// Draws what the model holds and changes nothing in it. A frame is drawn only when something has moved
// by a third of a pixel, and less often where drawing is slow.

import * as format from "./format.js";
import { drawCrowd, drawFan, extent } from "./layers.js";

/* global uPlot */

const DASHES = [[], [7, 4], [2, 4]];
export const COLOURS = 8;
/** A silence of a device longer than this many usual steps is a gap in its line. */
const GAP_STEPS = 8;
/** How fast the value axis gives way, and how slowly it comes back. Milliseconds. */
const GROW_MS = 120;
const SHRINK_MS = 2500;
/** How fast the paths follow when the fan begins anew. */
const BASE_MS = 180;
/** Panels with this key move their cursors together. */
export const SYNC = "time";

export class Chart {
  constructor(element, model, { onHover, onSelect, onBuild }) {
    this.element = element;
    this.model = model;
    this.onHover = onHover;
    this.onSelect = onSelect;
    this.onBuild = onBuild;
    this.only = new Set();
    this.pins = new Set();
    this.isFan = true;
    this.isStill = false;
    this.focused = null;
    this.plot = null;
    this.drawn = { generation: -1, min: 0, max: 0, at: 0 };
    this.range = null;
    this.anchor = null;
    this.bases = new Map();
    this.cost = 0;
    this.axisSize = null;
    this.built = 0;
    this.isSettling = false;
    new ResizeObserver(() => this.resize()).observe(element);
  }

  /** Whether paths are measured from where the fan begins. */
  get hasFan() {
    return this.isFan && this.model.anchor() !== null;
  }

  /**
   * Draws from `min` to `max` (seconds), if it looks different from the last time. Returns false where it
   * must be asked again for what is new.
   */
  draw(min, max, now, isDirty) {
    const { model, drawn } = this;
    if (model.times.length < 1 || !this.element.clientWidth) return false;
    const since = now - drawn.at;
    if (since < Math.min(1000, this.cost * 4)) return false;
    const pixels = this.element.clientWidth * devicePixelRatio;
    const moved = ((Math.abs(max - drawn.max) + Math.abs(min - drawn.min)) / (max - min)) * pixels;
    if (!isDirty && moved < 0.34 && !this.isSettling) return true;
    // What is drawn asks for it: the value axis shows what lies between them.
    Object.assign(drawn, { min, max });
    // Lines come and go many at a time while a picture fills: not a new chart for each.
    if (model.generation !== drawn.generation && (!this.plot || now - this.built > 150)) {
      this.built = now;
      this.#build();
    }
    const began = performance.now();
    this.elapsed = since;
    drawn.at = now;
    this.isSettling = false;
    this.#moveBases();
    this.plot.batch(() => {
      this.plot.setData(this.#columns(), false);
      this.plot.setScale("x", { min, max });
    });
    this.cost = 0.8 * this.cost + 0.2 * (performance.now() - began);
    return model.generation === drawn.generation;
  }

  /** How much the values differ in the picture; null before there is one. */
  get span() {
    return this.range ? this.range[1] - this.range[0] : null;
  }

  /** The lines that are shown, those in colour first. */
  shown() {
    const lines = this.lines ?? [];
    const isColoured = ({ colour }) => Number(colour !== null);
    return lines.filter((line) => this.#isShown(line)).sort((a, b) => isColoured(b) - isColoured(a));
  }

  /** Draws again from scratch: another theme, other lines, or the first picture. */
  rebuild() {
    this.drawn.generation = -1;
    this.drawn.at = 0;
    this.built = 0;
    this.range = null;
    this.bases.clear();
    this.anchor = null;
  }

  resize() {
    this.plot?.setSize(this.#size());
  }

  /** Emphasises a device, or none. */
  focus(device) {
    if (this.focused === device) return;
    this.focused = device;
    const at = this.lines?.findIndex((line) => line.device.i === device) ?? -1;
    if (this.model.now?.crowd && this.plot) {
      this.lines.forEach((line, n) => this.plot.setSeries(n + 1, { show: this.#isShown(line) }, false));
    }
    this.plot?.setSeries(at < 0 ? null : at + 1, { focus: true });
  }

  /** Shows only some devices, by their names; all where there are none. */
  isolate(only, pins) {
    this.only = only;
    this.pins = pins;
    this.lines?.forEach((line, n) => this.plot.setSeries(n + 1, { show: this.#isShown(line) }, false));
    this.isSettling = true;
  }

  /** Moves the cursor by so many columns, from the newest one on if it is nowhere. */
  moveCursor(by) {
    const { plot, model } = this;
    if (!plot) return;
    const last = model.indexAt(plot.scales.x.max);
    const first = Math.max(0, model.indexAt(plot.scales.x.min) + 1);
    const from = plot.cursor.idx ?? last;
    const at = Math.min(last, Math.max(first, from + by));
    const left = plot.valToPos(model.times[at], "x");
    plot.setCursor({ left, top: plot.over.clientHeight / 2 }, true, true);
  }

  hideCursor() {
    this.plot?.setCursor({ left: -10, top: -10 }, true, true);
  }

  #isShown({ device, colour }) {
    if (this.only.size > 0) return this.only.has(device.id);
    if (!this.model.now.crowd) return true;
    return this.pins.has(device.id) || (colour !== null && this.focused === device.i);
  }

  #size() {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
  }

  /** Where each path is measured from; it moves there gently, so that nothing jumps. */
  #moveBases() {
    const { model } = this;
    const target = this.hasFan ? model.anchor() : null;
    const step = this.isStill ? 1 : 1 - Math.exp(-(this.elapsed ?? 16) / BASE_MS);
    const move = (from, to) => (from === null || from === undefined || !this.hasFan ? to : from + (to - from) * step);
    if (target === null) {
      this.bases.clear();
      this.anchor = null;
      return;
    }
    this.anchor = Math.abs((this.anchor ?? target) - target) > model.about.window_ms / 2000 ? target : move(this.anchor, target);
    if (Math.abs(this.anchor - target) > 0.01) this.isSettling = true;
    else this.anchor = target;
    for (const { device } of this.lines) {
      const wanted = model.valueAt(device, target);
      if (wanted === null) continue;
      const base = move(this.bases.get(device.i), wanted);
      this.bases.set(device.i, base);
      if (Math.abs(base - wanted) > 1e-3 * (Math.abs(wanted) + 1e-9)) this.isSettling = true;
    }
  }

  #columns() {
    const { model, bases } = this;
    const measured = ({ device }) => {
      const base = this.hasFan ? bases.get(device.i) : undefined;
      return base === undefined ? device.values : device.values.map((value) => (value === null ? null : value - base));
    };
    return [model.times, ...this.lines.map(measured)];
  }

  #build() {
    this.plot?.destroy();
    this.drawn.generation = this.model.generation;
    const { coloured, others } = this.model.lines();
    // The coloured ones last, so that they lie on top.
    this.lines = [...others.map((device) => ({ device, colour: null })), ...coloured];
    const style = getComputedStyle(this.element);
    const get = (name) => style.getPropertyValue(name).trim();
    this.get = get;
    this.strokes = this.lines.map(({ colour }) =>
      get(colour === null ? "--line-other" : `--line-${(colour % COLOURS) + 1}`),
    );
    this.#moveBases();
    this.plot = new uPlot(this.#options(get), this.#columns(), this.element);
    this.onBuild(this.plot);
  }

  #options(get) {
    const size = Number.parseFloat(get("--chart-font"));
    const axis = {
      stroke: get("--muted"),
      font: `${size}px ${get("--font")}`,
      grid: { stroke: get("--grid"), width: 1 },
      ticks: { show: false },
    };
    const few = this.lines.length <= 20;
    return {
      ...this.#size(),
      legend: { show: false },
      padding: [14, 8, 0, 0],
      cursor: {
        drag: { x: true, y: false, setScale: false },
        focus: { prox: 30 },
        points: { size: 8 },
        x: true,
        y: false,
        sync: { key: SYNC, setSeries: false, scales: ["x", null] },
      },
      focus: { alpha: 0.25 },
      scales: {
        x: { time: true, auto: false },
        y: { range: (_, min, max) => this.#ease(min, max) },
      },
      axes: [
        { ...axis, size: size * 2.7, space: size * 7.5, values: (_, splits, __, ___, step) => splits.map((s) => format.clock(s, step)) },
        { ...axis, size: (_, marks) => (this.axisSize = widthOf(marks, size)), space: size * 2.6, values: (_, splits, __, ___, step) => splits.map((s) => mark(s, step)) },
      ],
      series: [{}, ...this.lines.map((line, n) => this.#series(line, this.strokes[n], few))],
      hooks: {
        drawAxes: [(plot) => this.#drawUnder(plot)],
        draw: [(plot) => this.#drawHeads(plot)],
        setCursor: [(plot) => this.onHover(this.#under(plot))],
        setSelect: [(plot) => this.#selected(plot)],
      },
    };
  }

  #series(line, stroke, few) {
    const common = {
      stroke,
      show: this.#isShown(line),
      points: { show: false },
      pxAlign: 0,
      spanGaps: false,
      gaps: (plot, series, from, to, gaps) => this.#longGaps(plot, gaps),
    };
    // One device pixel: a canvas draws wider lines five times as slowly.
    if (line.colour === null) return { ...common, width: 1 / devicePixelRatio };
    return {
      ...common,
      dash: DASHES[Math.floor(line.colour / COLOURS) % DASHES.length],
      width: (few || this.model.now.crowd) && this.cost < 12 ? 0.146 * Number.parseFloat(this.get("--chart-font")) : 1 / devicePixelRatio,
    };
  }

  /** Devices need not send together, so an empty column is no gap; a long silence is. */
  #longGaps(plot, gaps) {
    const { times } = this.model;
    const step = times.length > 1 ? (times.at(-1) - times[0]) / (times.length - 1) : 1;
    const longest = plot.valToPos(plot.scales.x.min + GAP_STEPS * Math.max(step, 0.5), "x", true) - plot.bbox.left;
    return gaps.filter(([from, to]) => to - from > longest);
  }

  #drawUnder(plot) {
    const { model, get } = this;
    const { min, max } = plot.scales.x;
    if (model.now.crowd) drawCrowd(plot, model.crowd(min, max), model.about.column_ms / 1000, this.hasFan ? "r" : "q", get);
    if (this.hasFan) drawFan(plot, model.now.theory, this.anchor ?? model.anchor(), get, model.now.crowd);
  }

  /** What has to be seen of all that is drawn: paths, spread and fan. */
  #bounds(min, max) {
    const { model } = this;
    const { min: left, max: right } = this.drawn;
    if (model.now.crowd) {
      const crowd = extent(model.crowd(left, right), this.hasFan ? "r" : "q");
      if (crowd) [min, max] = [Math.min(min ?? crowd[0], crowd[0]), Math.max(max ?? crowd[1], crowd[1])];
    }
    if (this.hasFan && min !== null) {
      // The whole fan, and the same above as below: a picture that keeps still.
      const apart = Math.max(Math.abs(right - model.anchor()), Math.abs(left - model.anchor()));
      const reach = Math.max(2.1 * model.now.theory.sigma * Math.sqrt(apart), Math.abs(min), Math.abs(max));
      return [-reach, reach];
    }
    return [min, max];
  }

  /** The value axis follows the data without jumping. */
  #ease(least, most) {
    const [min, max] = this.#bounds(least, most);
    if (min === null || max === null || !Number.isFinite(max - min)) return [-1, 1];
    const margin = Math.max((max - min) * 0.05, Math.abs(max) * 1e-6, 1e-9);
    const target = [min - margin, max + margin];
    const span = target[1] - target[0];
    // The first picture, or another measure altogether: nothing to keep steady.
    if (!this.range || this.isStill || span > 50 * (this.range[1] - this.range[0]) || span * 50 < this.range[1] - this.range[0]) {
      this.range = target;
    }
    const step = (ms) => 1 - Math.exp(-(this.elapsed ?? 16) / ms);
    const move = (from, to, grows) => from + (to - from) * step(grows ? GROW_MS : SHRINK_MS);
    const [low, high] = this.range;
    this.range = [move(low, target[0], target[0] < low), move(high, target[1], target[1] > high)];
    const rest = Math.abs(this.range[0] - target[0]) + Math.abs(this.range[1] - target[1]);
    if (rest > span * 0.002) this.isSettling = true;
    return this.range;
  }

  /** A dot at the newest point of each coloured line. */
  #drawHeads(plot) {
    const { ctx, bbox } = plot;
    const { times } = this.model;
    ctx.save();
    this.lines.forEach(({ device, colour }, n) => {
      const series = plot.series[n + 1];
      if (colour === null || !series.show) return;
      let last = times.length - 1;
      while (last >= 0 && device.values[last] === null) last--;
      if (last < 0) return;
      const x = plot.valToPos(times[last], "x", true);
      const y = plot.valToPos(plot.data[n + 1][last], "y", true);
      if (x < bbox.left || x > bbox.left + bbox.width || y < bbox.top || y > bbox.top + bbox.height) return;
      ctx.globalAlpha = series.alpha ?? 1;
      ctx.beginPath();
      ctx.arc(x, y, 3.5 * devicePixelRatio, 0, 2 * Math.PI);
      ctx.fillStyle = this.strokes[n];
      ctx.fill();
    });
    ctx.restore();
  }

  #selected(plot) {
    const { left, width } = plot.select;
    if (width < 8) return;
    const [min, max] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.onSelect(min, max);
  }

  /** What lies under the cursor: a time and the coloured devices' values there, the highest first. */
  #under(plot) {
    const { idx, left, top } = plot.cursor;
    if (left < 0 || idx === null || idx === undefined) return null;
    const apart = Math.abs(this.model.times[idx] - plot.posToVal(left, "x"));
    if (apart > Math.max(1.5, this.model.about.window_ms / 60000)) return null;
    const values = [];
    this.lines.forEach(({ device, colour }, n) => {
      if (colour === null || !plot.series[n + 1].show) return;
      const shown = plot.data[n + 1];
      let at = idx;
      while (at > 0 && idx - at < 10 && shown[at] === null) at--;
      const value = shown[at] ?? null;
      if (value !== null) values.push({ id: format.name(device.id), i: device.i, colour, value });
    });
    values.sort((a, b) => b.value - a.value);
    const time = this.model.times[idx];
    const column = this.model.now.crowd ? this.model.columns.get(Math.floor((time * 1000) / this.model.about.column_ms)) : null;
    const spread = column?.[this.hasFan ? "r" : "q"] ?? null;
    return { time, left, top, values, spread, focused: this.#nearest(values, plot.posToVal(top, "y")) };
  }

  #nearest(values, at) {
    let nearest = null;
    for (const entry of values) {
      if (!nearest || Math.abs(entry.value - at) < Math.abs(nearest.value - at)) nearest = entry;
    }
    return nearest?.i ?? null;
  }
}

/** A mark of the value axis, with the digits that tell it from its neighbours. */
function mark(number, step) {
  const size = Math.abs(number);
  const minus = (text) => text.replace("-", "\u2212");
  // Digits down to the step, and one more where it is a half or a quarter of a power of ten.
  const places = Math.ceil(-Math.log10(step) - 1e-9);
  const part = step * 10 ** places;
  const decimals = places + Number(Math.abs(part - Math.round(part)) > 1e-6);
  const significant = size > 0 ? Math.floor(Math.log10(size)) + 1 + decimals : 1;
  if (size >= 1e7 || (size > 0 && decimals > 6)) return minus(number.toExponential(Math.max(0, Math.min(9, significant - 1))));
  return minus(number.toFixed(Math.max(0, Math.min(9, decimals))));
}

/** The room that the marks of a value axis need: the same for all but the longest, so that the picture keeps still. */
function widthOf(marks, size) {
  const longest = Math.max(0, ...(marks ?? []).map((text) => text?.length ?? 0));
  return size * Math.max(4.9, 1.3 + 0.6 * longest);
}
