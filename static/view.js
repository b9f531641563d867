// What the viewer has chosen: kept in the address, so that a link shows the same picture.
//
// Pure apart from the address: it draws nothing and listens to nothing.

const MODES = ["fan", "position"];
const SORTS = ["colour", "name", "value", "drift", "volatility"];

/** Browsers refuse an address that changes too often, and some refuse it altogether. */
const WRITE_MS = 300;

export class View {
  constructor() {
    this.writing = 0;
    addEventListener("pagehide", () => this.flush());
    this.mode = "fan";
    /** Seconds that are shown; null for all there is. */
    this.window = null;
    /** A part of the past that is looked at, in seconds since 1970; null follows what is new. */
    this.range = null;
    this.pins = new Set();
    this.only = new Set();
    this.sort = "colour";
    this.isDescending = false;
    this.field = new URLSearchParams(location.search).get("field");
    this.#read();
  }

  #read() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const number = (name) => (asked.get(name) && Number.isFinite(Number(asked.get(name))) ? Number(asked.get(name)) : null);
    if (MODES.includes(asked.get("mode"))) this.mode = asked.get("mode");
    this.window = number("window");
    const [from, to] = [number("from"), number("to")];
    if (from !== null && to !== null && from < to) this.range = { min: from, max: to };
    for (const id of asked.getAll("pin").slice(0, 16)) this.pins.add(id);
    for (const id of asked.getAll("only").slice(0, 50)) this.only.add(id);
    if (SORTS.includes(asked.get("sort"))) this.sort = asked.get("sort");
    this.isDescending = asked.get("order") === "descending";
  }

  /** Writes the choices into the address soon, without a step in the history. */
  write() {
    clearTimeout(this.writing);
    this.writing = setTimeout(() => this.flush(), WRITE_MS);
  }

  /** Writes them now. */
  flush() {
    clearTimeout(this.writing);
    const said = new URLSearchParams();
    if (this.mode !== "fan") said.set("mode", this.mode);
    if (this.window) said.set("window", this.window);
    if (this.range) {
      said.set("from", this.range.min.toFixed(3));
      said.set("to", this.range.max.toFixed(3));
    }
    for (const id of this.pins) said.append("pin", id);
    for (const id of this.only) said.append("only", id);
    if (this.sort !== "colour") said.set("sort", this.sort);
    if (this.isDescending) said.set("order", "descending");
    const hash = said.toString();
    try {
      history.replaceState(null, "", `${location.pathname}${location.search}${hash ? `#${hash}` : ""}`);
    } catch {
      // The view is as it is; the next change tries again.
    }
  }

  /** The address of this server's answers about the field that is shown. */
  ask(path, more = {}) {
    const query = new URLSearchParams(more);
    if (this.field) query.set("field", this.field);
    const text = query.toString();
    return text ? `${path}?${text}` : path;
  }
}
