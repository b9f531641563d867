// Finding a device among all there are, keeping pinned ones drawn, and choosing the field.
//
// It asks the server, which knows more devices than it tells everybody about; it draws nothing itself.

import * as format from "./format.js";
import { pinButton } from "./list.js";

const TYPED_MS = 200;
/** The server keeps a wanted device for half a minute. */
const WANT_MS = 10000;
const at = (id) => document.getElementById(id);

export class Finder {
  constructor({ view, model, onPin, onText }) {
    this.view = view;
    this.model = model;
    this.onPin = onPin;
    this.typed = 0;
    this.fields = "";
    const search = at("search");
    search.oninput = () => {
      onText(search.value.trim());
      clearTimeout(this.typed);
      this.typed = setTimeout(() => this.#ask(search.value.trim()), TYPED_MS);
    };
    search.onkeydown = (event) => {
      if (event.key !== "Escape") return;
      search.value = "";
      search.oninput();
      search.blur();
    };
    at("field-select").onchange = ({ target }) => {
      const query = new URLSearchParams({ field: target.value });
      // The same view of another field.
      this.view.flush();
      location.assign(`${location.pathname}?${query}${location.hash}`);
    };
    setInterval(() => this.want(), WANT_MS);
    // Once the page has its picture.
    setTimeout(() => this.want(), 0);
  }

  /** Asks the server to keep the pinned and isolated devices in colour. */
  want() {
    for (const id of new Set([...this.view.pins, ...this.view.only])) {
      // Without an answer the badge says that the server is away, and it is asked again.
      fetch(this.view.ask("/api/want", { id })).catch(() => {});
    }
  }

  /** Offers the fields that were found, and says how many devices aren't in the list of `rows`. */
  update(rows) {
    const { fields, field, devices } = this.model.now;
    const key = JSON.stringify([fields, field]);
    if (key !== this.fields) {
      this.fields = key;
      at("field-choice").hidden = fields.length < 2;
      at("field-select").replaceChildren(...fields.map((name) => new Option(format.name(name), name, false, name === field)));
    }
    if (at("search").value) return;
    const others = devices - rows;
    at("found-title").hidden = others <= 0;
    const text = `and ${format.count(others)} more: search and pin them`;
    if (at("found-title").textContent !== text) at("found-title").textContent = text;
  }

  async #ask(text) {
    if (!text) {
      at("found").replaceChildren();
      return;
    }
    try {
      const response = await fetch(this.view.ask("/api/devices", { search: text }));
      const { all, devices } = await response.json();
      if (at("search").value.trim() === text) this.#show(all, devices);
    } catch {
      this.#show(0, []);
    }
  }

  #show(all, devices) {
    const listed = new Set(this.model.lines().coloured.map(({ device }) => device.id));
    const others = devices.filter(({ id }) => !listed.has(id));
    at("found-title").hidden = false;
    const shown = others.length < all - (devices.length - others.length) ? `, the first ${devices.length} here` : "";
    at("found-title").textContent = `${format.count(all)} found${shown}`;
    at("found").replaceChildren(
      ...others.map(({ id, value }) => {
        const item = document.createElement("li");
        const name = document.createElement("bdi");
        name.textContent = format.name(id);
        const number = document.createElement("b");
        number.textContent = format.value(value);
        const pin = pinButton(format.name(id), () => {
          this.onPin(id);
          item.remove();
        });
        item.append(name, number, pin);
        return item;
      }),
    );
  }
}
