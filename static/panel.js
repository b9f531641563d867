// The panel below the picture, over the same time: the share inside the fan, or how many records come.
//
// Its cursor moves with the picture's. It draws columns of all devices, never single ones.

import { SYNC } from "./chart.js";
import * as format from "./format.js";
import { WITHIN } from "./theory.js";

/* global uPlot */

export class Panel {
  /** `axisSize` is the room that the picture's value axis takes: the times must stand below each other. */
  constructor(element, model, axisSize) {
    this.element = element;
    this.axisSize = axisSize;
    this.model = model;
    this.plot = null;
    this.kind = null;
    this.most = 1;
    new ResizeObserver(() => this.plot?.setSize(this.#size())).observe(element);
  }

  rebuild() {
    this.kind = null;
  }

  draw(min, max, isDirty) {
    if (!this.element.clientWidth || !this.element.clientHeight) return;
    const kind = this.model.now.theory ? "inside" : "volume";
    if (kind !== this.kind) {
      this.kind = kind;
      this.#build();
      isDirty = true;
    }
    if (isDirty) this.data = this.#data(min, max);
    this.plot.batch(() => {
      this.plot.setData(this.data, false);
      this.plot.setScale("x", { min, max });
    });
  }

  #data(min, max) {
    const seconds = this.model.about.column_ms / 1000;
    const columns = this.model.crowd(min - 10 * seconds, max);
    const times = columns.map(({ b }) => (b + 1) * seconds);
    if (this.kind === "inside") {
      const share = (which) => columns.map(({ inside }) => (inside ? (100 * inside[which]) / inside[2] : null));
      return [times, share(0), share(1)];
    }
    // The newest column isn't full yet.
    const rates = columns.map(({ c }, n) => (n === columns.length - 1 ? null : c / seconds));
    this.most = Math.max(1e-9, ...rates);
    return [times, rates];
  }

  #size() {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
  }

  #build() {
    this.plot?.destroy();
    const style = getComputedStyle(this.element);
    const get = (name) => style.getPropertyValue(name).trim();
    const isInside = this.kind === "inside";
    const size = Number.parseFloat(get("--chart-font"));
    const axis = {
      stroke: get("--muted"),
      font: `${size}px ${get("--font")}`,
      grid: { stroke: get("--grid"), width: 1 },
      ticks: { show: false },
    };
    const line = { stroke: get("--inside-1"), width: 1.5, points: { show: false }, spanGaps: true, pxAlign: 0 };
    this.plot = new uPlot(
      {
        ...this.#size(),
        legend: { show: false },
        padding: [8, 8, 4, 0],
        cursor: { drag: { x: false, y: false }, points: { size: 6 }, x: true, y: false, sync: { key: SYNC, setSeries: false, scales: ["x", null] } },
        scales: { x: { time: true, auto: false }, y: { range: () => (isInside ? [0, 105] : [0, this.most * 1.15]) } },
        axes: [
          { ...axis, show: false },
          {
            ...axis,
            size: () => this.axisSize() ?? size * 4.9,
            splits: isInside ? () => [0, 50, 100] : undefined,
            space: size * 2,
            values: (_, splits) => splits.map((split) => (isInside ? `${split} %` : format.rate(split))),
          },
        ],
        series: isInside
          ? [{}, line, { ...line, stroke: get("--inside-2"), dash: [6, 4] }]
          : [{}, { ...line, fill: get("--fan"), paths: uPlot.paths.stepped({ align: -1 }) }],
        hooks: { drawAxes: [(plot) => isInside && this.#drawTheory(plot, get)] },
      },
      this.#data(0, Infinity),
      this.element,
    );
  }

  /** Where theory puts the two shares. */
  #drawTheory(plot, get) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = get("--fan-edge");
    ctx.lineWidth = devicePixelRatio;
    for (const share of WITHIN) {
      const y = plot.valToPos(share * 100, "y", true);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
    }
    ctx.restore();
  }
}
