// The list of devices: name, newest value, and for `markov` what its window tells. Sorted, searched, pinned.
//
// Names are text and never markup. Rows keep their places while the mouse or the focus is on them, and the
// columns keep their widths: nothing jumps.

import { COLOURS } from "./chart.js";
import * as format from "./format.js";
import { errors, transitions } from "./theory.js";

/** Rows sorted by a value are put in order this often. */
const ORDER_MS = 2000;
/** Values change their number of digits no more often than this. */
const DIGITS_MS = 5000;
/** A finger leaves its last place hovered. */
const mouse = matchMedia("(hover: hover)");
const PIN = "M9.8 1.6 14.4 6.2l-1 1-.8-.2-2.6 2.6-.2 3-1 1-2.9-2.9L2.6 14l-.6-.6 3.3-3.3-2.9-2.9 1-1 3-.2L9 3.4l-.2-.8z";

export class List {
  constructor(table, { view, onIsolate, onPin, onFocus, onSort }) {
    this.table = table;
    this.body = table.tBodies[0];
    this.rows = new Map();
    this.view = view;
    this.onIsolate = onIsolate;
    this.onPin = onPin;
    this.onFocus = onFocus;
    this.generation = -1;
    this.ordered = 0;
    this.span = null;
    this.spanned = 0;
    this.text = "";
    for (const button of table.tHead.querySelectorAll("button[data-sort]")) {
      button.onclick = () => {
        const { sort } = button.dataset;
        view.isDescending = view.sort === sort ? !view.isDescending : sort !== "name";
        if (view.sort === sort && sort !== "name" && view.isDescending) {
          // The third click goes back to the order of the colours.
          [view.sort, view.isDescending] = ["colour", false];
        } else view.sort = sort;
        this.refresh();
        onSort();
      };
    }
  }

  /** Arranges the rows anew at the next update. */
  refresh() {
    this.generation = -1;
  }

  /** Shows devices whose names hold the text. */
  search(text) {
    this.text = text.toLowerCase();
    this.refresh();
  }

  /** Brings the rows up to date; `span` is how much the values differ in the picture. */
  update(model, now, span) {
    const isOther = this.span === null || span > 10 * this.span || span * 10 < this.span;
    if (isOther || now - this.spanned > DIGITS_MS) [this.span, this.spanned] = [span, now];
    const isAsked = this.generation < 0;
    const isDue = this.view.sort !== "colour" && this.view.sort !== "name" && now - this.ordered > ORDER_MS;
    if (isAsked || ((model.generation !== this.generation || isDue) && !this.#isHeld(model))) {
      this.generation = model.generation;
      this.ordered = now;
      this.#arrange(model);
    } else if (model.generation !== this.generation) {
      this.#keep(model);
    }
    const { head } = model.now;
    for (const row of this.rows.values()) row.update(head);
    return this.rows.size;
  }

  /** Whether somebody is about to click a row, or has the keyboard in one: then all keep their places. */
  #isHeld(model) {
    const isPointedAt = (mouse.matches && this.body.matches(":hover")) || this.body.querySelector(":focus-visible");
    return isPointedAt && [...this.rows.keys()].some((id) => model.find(id));
  }

  /** The same rows in their places, of the devices as they are now; one that is gone keeps what it had. */
  #keep(model) {
    for (const [id, row] of this.rows) row.device = model.find(id) ?? row.device;
  }

  #arrange(model) {
    const rows = new Map();
    for (const { device, colour } of this.#sorted(model.lines().coloured)) {
      if (this.text && !device.id.toLowerCase().includes(this.text)) continue;
      const known = this.rows.get(device.id);
      const row = known?.colour === colour ? known : this.#row(device, colour);
      row.device = device;
      row.show();
      rows.set(device.id, row);
    }
    this.rows = rows;
    const elements = [...rows.values()].map((row) => row.element);
    // Moving a row takes the focus from it: only what has changed is put in place.
    const isSame = elements.length === this.body.children.length && elements.every((row, n) => row === this.body.children[n]);
    if (!isSame) this.#place(elements);
    for (const head of this.table.tHead.querySelectorAll("th")) {
      const sort = head.querySelector("button")?.dataset.sort;
      const isSorted = sort === this.view.sort;
      if (isSorted) head.setAttribute("aria-sort", this.view.isDescending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  #place(elements) {
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    this.body.replaceChildren(...elements);
    if (focused?.isConnected) focused.focus({ preventScroll: true });
  }

  #sorted(lines) {
    const { sort, isDescending, pins } = this.view;
    const key = {
      colour: ({ colour }) => colour,
      name: ({ device }) => device.id,
      value: ({ device }) => device.latest?.value ?? 0,
      drift: ({ device }) => device.latest?.estimates?.drift ?? 0,
      volatility: ({ device }) => device.latest?.estimates?.volatility ?? 0,
    }[sort];
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
    const sign = isDescending ? -1 : 1;
    const isPinned = ({ device }) => Number(pins.has(device.id));
    return [...lines].sort((a, b) => isPinned(b) - isPinned(a) || sign * compare(key(a), key(b)) || a.colour - b.colour);
  }

  #row(device, colour) {
    const element = document.createElement("tr");
    const name = document.createElement("button");
    name.type = "button";
    name.className = "device";
    const swatch = document.createElement("i");
    swatch.className = `swatch colour-${(colour % COLOURS) + 1} dash-${Math.floor(colour / COLOURS)}`;
    const text = document.createElement("bdi");
    text.textContent = format.name(device.id);
    name.append(swatch, text);
    name.title = `${format.name(device.id)}: show it alone; with Shift or Ctrl, beside others`;
    name.onclick = (event) => this.onIsolate(device.id, event.shiftKey || event.ctrlKey || event.metaKey);
    element.onpointerenter = () => this.onFocus(row.device.i);
    element.onpointerleave = () => this.onFocus(null);
    name.onfocus = () => this.onFocus(row.device.i);
    name.onblur = () => this.onFocus(null);
    const pin = pinButton(format.name(device.id), () => this.onPin(device.id));
    const head = document.createElement("th");
    head.scope = "row";
    const cell = document.createElement("div");
    cell.append(name, pin);
    head.append(cell);
    const cells = ["value", "drift", "volatility", "after-up", "after-down"].map((kind) => {
      const made = document.createElement("td");
      made.className = `number ${kind}`;
      return made;
    });
    element.append(head, ...cells);
    const show = () => {
      const { only, pins } = this.view;
      const isAlone = only.has(device.id);
      name.setAttribute("aria-pressed", String(isAlone));
      pin.setAttribute("aria-pressed", String(pins.has(device.id)));
      element.classList.toggle("is-hidden", only.size > 0 && !isAlone);
    };
    const row = { device, colour, element, show, update: (head) => this.#fill(row.device, cells, element, head) };
    return row;
  }

  #fill(device, cells, element, head) {
    const { latest } = device;
    const estimates = latest?.estimates;
    const silence = latest && head ? head - latest.time : 0;
    element.classList.toggle("is-silent", silence > 15000);
    const share = (part) => (part === undefined ? "–" : `${Math.round(part * 100)} %`);
    const moves = estimates ? transitions(estimates) : null;
    const texts = [
      format.value(latest?.value, this.span),
      format.fixed(estimates?.drift, 2),
      format.fixed(estimates?.volatility, 2),
      share(moves?.upAfterUp),
      share(moves?.upAfterDown),
    ];
    texts.forEach((text, n) => {
      if (cells[n].textContent !== text) cells[n].textContent = text;
    });
    // Only a step of `markov` has a window; other topics get no empty columns.
    if (!estimates) return;
    this.table.classList.add("has-estimates");
    const error = errors(estimates);
    cells[1].title = `± ${format.fixed(error.drift, 3)} per second`;
    cells[2].title = `± ${format.fixed(error.volatility, 3)} per √second`;
  }
}

export function pinButton(name, onclick) {
  const pin = document.createElement("button");
  pin.type = "button";
  pin.className = "pin";
  pin.setAttribute("aria-label", `Pin ${name}`);
  pin.title = "Pin: keep it on top, and drawn";
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  picture.setAttribute("viewBox", "0 0 16 16");
  picture.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PIN);
  picture.append(path);
  pin.append(picture);
  pin.onclick = onclick;
  return pin;
}
