// The dialogs: bad messages, latencies, values as a table, help. And the saving of what is shown.
//
// Whatever comes from records is text here, never markup.

import * as format from "./format.js";
import * as files from "./export.js";

const at = (id) => document.getElementById(id);
/** Rows of the table of values: the newest ones. */
const ROWS = 60;

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

export class Dialogs {
  constructor({ model, delay, lines, range, canvases, flush }) {
    Object.assign(this, { model, delay, lines, range, canvases, flush });
    for (const button of document.querySelectorAll("dialog [data-close]")) button.onclick = () => button.closest("dialog").close();
    at("bad-open").onclick = () => this.#bad();
    at("latency-open").onclick = () => this.#latency();
    at("help-open").onclick = () => this.help();
    at("table-open").onclick = () => this.#table();
    at("save-png").onclick = () => this.#png();
    at("save-csv").onclick = () => this.#values("csv", "text/csv", files.csv);
    at("save-json").onclick = () => this.#values("json", "application/json", (values) => JSON.stringify(values));
    at("copy-link").onclick = () => this.#copy();
    at("save-menu").addEventListener("toggle", (event) => event.newState === "open" && this.#placeMenu());
  }

  get isOpen() {
    return !!document.querySelector("dialog[open]");
  }

  help() {
    at("help-dialog").showModal();
  }

  #placeMenu() {
    const button = at("save").getBoundingClientRect();
    const menu = at("save-menu");
    menu.style.top = `${button.bottom + 6}px`;
    menu.style.left = `${Math.max(8, Math.min(button.right - menu.offsetWidth, innerWidth - menu.offsetWidth - 8))}px`;
  }

  #shown() {
    return files.shown(this.model, this.lines(), this.range());
  }

  #values(ending, type, encode) {
    at("save-menu").hidePopover();
    files.save(files.fileName(this.model.about.topic, ending), new Blob([encode(this.#shown())], { type }));
  }

  async #png() {
    at("save-menu").hidePopover();
    const { about, now } = this.model;
    const title = `${about.topic} · ${now.field ?? "value"} · ${format.count(now.devices)} devices`;
    const image = await files.png(this.canvases(), title, getComputedStyle(document.body));
    files.save(files.fileName(about.topic, "png"), image);
  }

  async #copy() {
    const button = at("copy-link");
    const text = button.textContent;
    this.flush();
    try {
      await navigator.clipboard.writeText(location.href);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Copy it from the address bar";
    }
    setTimeout(() => (button.textContent = text), 1500);
  }

  #bad() {
    const { reasons, samples } = this.model.bad;
    const rows = Object.entries(reasons).map(([reason, number]) => row(element("td", reason), element("td", format.count(number), "number")));
    at("bad-reasons").replaceChildren(...rows);
    const last = samples.toReversed().map((sample) => {
      const item = document.createElement("li");
      item.append(`${sample.reason} · partition ${sample.partition}, offset ${sample.offset}`, element("code", sample.text || "(empty)"));
      return item;
    });
    at("bad-samples").replaceChildren(...last);
    at("bad-none").hidden = rows.length > 0;
    at("bad-dialog").showModal();
  }

  #latency() {
    const { now } = this.model;
    const cell = (ms) => element("td", ms === null || ms === undefined ? "–" : format.latency(ms), "number");
    const line = (name, p50, p99) => row(element("th", name), cell(p50), cell(p99));
    const painted = [this.delay.quantile(0.5), this.delay.quantile(0.99)];
    const rows = now.to_server_ms
      ? [line("event to broker", ...(now.to_broker_ms ?? [])), line("broker to server", ...now.to_server_ms)]
      : [line("event to server", now.p50_ms, now.p99_ms)];
    rows.push(line("server to browser", ...painted));
    for (const made of rows) made.firstChild.scope = "row";
    at("latency-rows").replaceChildren(...rows);
    const notes = [];
    if (!now.to_server_ms) {
      notes.push("The topic keeps the producers' times, so the broker's own share can't be told apart; with message.timestamp.type=LogAppendTime it is.");
    }
    if (now.p50_ms === null) notes.push("Event times are not those of a clock that runs now, so they say nothing about delay.");
    else if (now.p50_ms < 0) notes.push("Events seem to come from the future: the producers' clocks are ahead of this server's.");
    at("latency-note").textContent = notes.join(" ");
    at("latency-dialog").showModal();
  }

  #table() {
    at("save-menu").hidePopover();
    const { times, devices, field } = this.#shown();
    const head = document.createElement("thead");
    const names = devices.map(({ id }) => element("th", format.name(id), "number"));
    head.append(row(element("th", "time"), ...names));
    for (const cell of head.querySelectorAll("th")) cell.scope = "col";
    const body = document.createElement("tbody");
    for (let n = times.length - 1; n >= Math.max(0, times.length - ROWS); n--) {
      const time = element("th", format.clock(times[n], this.model.about.bucket_ms < 1000 ? 0.1 : 1));
      time.scope = "row";
      body.append(row(time, ...devices.map(({ values }) => element("td", values[n] === null ? "" : format.value(values[n]), "number"))));
    }
    at("values").replaceChildren(head, body);
    at("table-title").textContent = `${field ?? "value"}: the newest ${Math.min(ROWS, times.length)} of ${times.length} times in view`;
    at("table-dialog").showModal();
  }
}
