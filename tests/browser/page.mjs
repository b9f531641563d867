// The dashboard in a real browser: do the paths move, is history there after a reload, does pause hold?
//
//   node tests/browser/page.mjs http://localhost:8080
//
// The caller runs a dashboard whose topic receives the steps of some devices, and installs playwright-core
// and axe-core where Node finds them (or names their directory in PLAYWRIGHT_CORE). The browser is CHROMIUM,
// or Debian's. Exits 0 when all holds; otherwise says what doesn't, and exits 1.

import { createRequire } from "node:module";

const base = new URL(process.argv[2] ?? process.env.DASHBOARD_URL ?? "http://localhost:8080").origin;
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const DEADLINE_MS = Number(process.env.DEADLINE_MS ?? 15000);
const ARGUMENTS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--lang=en-US",
];

const from = process.env.PLAYWRIGHT_CORE ?? `${process.cwd()}/`;
const require = createRequire(`${from}/`);
const { chromium } = require("playwright-core");
const axe = require("axe-core").source;

const complaints = [];

/** A page that reports what it shouldn't do. */
async function open(context) {
  const page = await context.newPage();
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`page error: ${error.message}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.origin !== base) complaints.push(`request to elsewhere: ${url.href}`);
  });
  await page.goto(base, { waitUntil: "domcontentloaded", timeout: DEADLINE_MS });
  return page;
}

/** Waits until `condition` holds in the page. */
async function until(page, what, condition, argument) {
  try {
    return await page.waitForFunction(condition, argument, { timeout: DEADLINE_MS, polling: 50 });
  } catch {
    throw new Error(`${what}: not within ${DEADLINE_MS} ms`);
  }
}

/** What the canvas shows, as a number that changes with any pixel. */
const pixels = () => {
  const canvas = document.querySelector("#chart canvas");
  if (!canvas) return null;
  // A copy: reading the canvas itself would change how the browser treats it.
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  let hash = 0;
  for (let n = 0; n < data.length; n += 4) hash = (Math.imul(hash, 31) + data[n] + data[n + 1] * 7 + data[n + 3]) | 0;
  return hash;
};

const state = (page) => page.locator("#state").textContent();
/** The address is written a moment after the choice. */
const untilHash = (page, text) =>
  until(page, `an address with “${text}”`, (wanted) => (wanted === "" ? location.hash === "" : location.hash.includes(wanted)), text);
/** Where the picture is; a chart that is just being made anew is nowhere for a moment. */
async function pictureBox(page) {
  const began = Date.now();
  for (;;) {
    const box = await page.locator("#chart .u-over").boundingBox();
    if (box) return box;
    check(Date.now() - began < DEADLINE_MS, "there is no picture");
  }
}
/** Streams that the server has open, by its own metrics. */
const untilStreams = (page, count) =>
  until(
    page,
    `${count} open streams`,
    async (wanted) => {
      const text = await (await fetch("/metrics")).text();
      return Number(/^fireworks_dashboard_viewers (\d+)/m.exec(text)?.[1]) === wanted;
    },
    count,
  );
/** Hides a tab, or shows it again: a browser without a screen shows all of its tabs. */
const turn = (page, isHidden) =>
  page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, isHidden);
/** The longest time without a point, in seconds; and how many points are missing that the server has. */
const holes = (page) =>
  page.evaluate(async () => {
    const { model } = globalThis.fireworks;
    const snapshot = await (await fetch("/api/snapshot")).json();
    const gap = Math.max(...model.times.slice(1).map((time, n) => time - model.times[n]));
    const missing = snapshot.series.map(({ i, b }) => b.length - (model.devices.get(i)?.values.filter((value) => value !== null).length ?? 0));
    return { gap, missing: Math.max(...missing) };
  });
const columns = (page) => page.evaluate(() => globalThis.fireworks.model.times.length);

function check(holds, what) {
  if (!holds) throw new Error(what);
}

const checks = {
  async "the picture is there and says that it is live"(page) {
    await until(page, "a canvas with paths", () => globalThis.fireworks?.model.times.length > 1 && !!document.querySelector("#chart canvas"));
    await until(page, "the state Live", () => document.getElementById("state").textContent === "Live");
    await until(page, "a row for each coloured device", () => {
      const { coloured } = globalThis.fireworks.model.lines();
      return coloured.length > 0 && document.querySelectorAll("#legend tbody tr").length === coloured.length;
    });
  },

  async "paths move, in the data and on the canvas"(page) {
    const before = await page.evaluate(() => globalThis.fireworks.model.now.records);
    const shown = await page.evaluate(pixels);
    await until(page, "new records", (records) => globalThis.fireworks.model.now.records > records, before);
    await until(page, "other pixels", new Function("shown", `return (${pixels})() !== shown`), shown);
  },

  async "history is there right after a reload"(page) {
    const before = await columns(page);
    await page.reload({ waitUntil: "domcontentloaded" });
    // What came with the page itself, before any message could have.
    const inPage = await page.evaluate(() => {
      const { series = [] } = JSON.parse(document.getElementById("snapshot").textContent);
      return Math.max(0, ...series.map((path) => path.b.length));
    });
    check(inPage >= Math.min(2, before), `the page came with ${inPage} points; ${before} were shown before the reload`);
    await until(page, "the picture from before", (count) => globalThis.fireworks?.model.times.length >= count * 0.8, before);
    await until(page, "a drawn canvas", () => !!document.querySelector("#chart canvas"));
  },

  async "pause holds the picture, and resume loses nothing"(page) {
    await until(page, "the state Live", () => document.getElementById("state").textContent === "Live");
    await page.keyboard.press("Space");
    await until(page, "the state Paused", () => document.getElementById("state").textContent === "Paused");
    await until(page, "an axis at rest", () => !globalThis.fireworks.chart.isSettling);
    const held = await page.evaluate(() => globalThis.fireworks.model.now.records);
    const shown = await page.evaluate(pixels);
    await until(page, "records that are held", () => globalThis.fireworks.view.heldRecords > 0);
    check((await page.evaluate(() => globalThis.fireworks.model.now.records)) === held, "the picture went on in a pause");
    check((await page.evaluate(pixels)) === shown, "the canvas changed in a pause");
    await page.locator("#pause").click();
    await until(page, "the state Live", () => document.getElementById("state").textContent === "Live");
    await until(page, "the held records", (records) => globalThis.fireworks.model.now.records > records, held);
    const [own, theirs] = await page.evaluate(async () => {
      const snapshot = await (await fetch("/api/snapshot")).json();
      const length = (path) => path.b.length;
      const { model } = globalThis.fireworks;
      const first = snapshot.series[0];
      const own = model.devices.get(first.i).values.filter((value) => value !== null).length;
      return [own, length(first)];
    });
    check(own >= theirs - 2, `after a pause ${theirs - own} of ${theirs} points are missing`);
  },

  async "a tab that nobody sees lets go of its stream after a minute, and goes on without a gap"(page) {
    const context = await page.context().browser().newContext();
    // Its clock can be put forward; the server's and the stream's stay as they are.
    await context.clock.install();
    const tab = await open(context);
    const records = () => tab.evaluate(() => globalThis.fireworks.model.now.records);
    await until(tab, "movement", () => globalThis.fireworks?.model.now.records > JSON.parse(document.getElementById("snapshot").textContent).now.records);
    await untilStreams(page, 2);
    await turn(tab, true);
    await context.clock.fastForward(55000);
    const early = await records();
    await until(tab, "movement before the minute is over", (seen) => globalThis.fireworks.model.now.records > seen, early);
    await context.clock.fastForward(6000);
    await untilStreams(page, 1);
    const [shown, meanwhile] = [await records(), await page.evaluate(() => globalThis.fireworks.model.now.records)];
    await until(page, "records that it doesn't see", (seen) => globalThis.fireworks.model.now.records > seen + 20, meanwhile);
    check((await records()) === shown, "it went on without being seen");
    await turn(tab, false);
    await untilStreams(page, 2);
    await until(tab, "what it hasn't seen", (seen) => globalThis.fireworks.model.now.records > seen + 20, meanwhile);
    const { gap, missing } = await holes(tab);
    check(gap < 1.9 && missing <= 2, `there is a gap of ${gap} s, and ${missing} points are missing`);
    check((await tab.evaluate(() => globalThis.fireworks.view.missed)) === 0, "it got another picture instead of what was missing");
    await context.close();
    await untilStreams(page, 1);
  },

  async "the fan of theory tells the share inside, and a device's memory stands beside a walk without one"(page) {
    await until(page, "a share inside the fan", () => /^\d+ %$/.test(document.getElementById("inside-1").textContent));
    await until(page, "a matrix of transitions", () => /^\d+\.\d %$/.test(document.getElementById("uu-share").textContent));
    const rows = await page.evaluate(() => ["uu", "ud"].map((id) => Number.parseFloat(document.getElementById(`${id}-share`).textContent)));
    check(Math.abs(rows[0] + rows[1] - 100) < 0.2, `the row after an up adds up to ${rows[0] + rows[1]} %`);
    const starts = await page.evaluate(() => {
      const { chart, model } = globalThis.fireworks;
      const at = model.indexAt(model.anchor());
      return chart.lines.map((_, n) => chart.plot.data[n + 1][at]).filter((value) => value !== null);
    });
    check(starts.length > 0 && starts.every((value) => Math.abs(value) < 3), `paths begin at ${starts} where the fan does`);
    await page.locator("#modes [data-mode=position]").click();
    check(!(await page.evaluate(() => globalThis.fireworks.chart.hasFan)), "the values as they are have a fan");
    await untilHash(page, "mode=position");
    await page.locator("#modes [data-mode=fan]").click();
  },

  async "zooming pauses, panning stays in the window, and live goes on without a gap"(page) {
    const box = await pictureBox(page);
    await page.mouse.move(box.x + box.width * 0.3, box.y + 100);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.6, box.y + 120, { steps: 4 });
    await page.mouse.up();
    await until(page, "the state Paused", () => document.getElementById("state").textContent === "Paused");
    const zoomed = await page.evaluate(() => globalThis.fireworks.choice.range);
    check(zoomed.max - zoomed.min < 120, `it shows ${zoomed.max - zoomed.min} s after a zoom`);
    await untilHash(page, "from=");
    await page.evaluate(() => document.activeElement?.blur());
    for (let n = 0; n < 30; n++) await page.keyboard.press("ArrowLeft");
    const panned = await page.evaluate(() => [globalThis.fireworks.choice.range, globalThis.fireworks.model.now.head, globalThis.fireworks.model.about.window_ms]);
    check(panned[0].min * 1000 > panned[1] - panned[2] * 1.2, "it was panned out of the window");
    await page.keyboard.press("Escape");
    await until(page, "the state Live", () => document.getElementById("state").textContent === "Live");
    await untilHash(page, "");
  },

  async "the cursor stands at the same time in the picture and in its panel"(page) {
    const box = await pictureBox(page);
    await page.mouse.move(box.x + box.width * 0.5, box.y + box.height * 0.4);
    await until(page, "a cursor in both", () => {
      const { chart, panel } = globalThis.fireworks;
      const [own, other] = [chart.plot, panel.plot].map((plot) => (plot.cursor.left >= 0 ? plot.posToVal(plot.cursor.left, "x") : null));
      return own !== null && other !== null && Math.abs(own - other) < 1;
    });
    await page.mouse.move(2, 2);
  },

  async "the length of the window is chosen, and kept in the address"(page) {
    await page.locator("#window-select").selectOption("60");
    await until(page, "a window of a minute", () => {
      const { min, max } = globalThis.fireworks.chart.plot.scales.x;
      return Math.abs(max - min - 60) < 3;
    });
    await untilHash(page, "window=60");
    await page.locator("#window-select").selectOption("300");
    await untilHash(page, "");
  },

  async "rows keep their places under the mouse"(page) {
    const names = () => page.locator("#legend .device bdi").allTextContents();
    const before = await names();
    await page.locator("#legend .device").first().hover();
    const turn = () => {
      const { model } = globalThis.fireworks;
      model.top = model.top.toReversed();
      model.generation++;
    };
    await page.evaluate(turn);
    await page.waitForTimeout(700);
    check((await names()).join() === before.join(), "rows were moved under the mouse");
    await page.mouse.move(2, 2);
    await until(page, "rows in their new order", (last) => document.querySelector("#legend .device bdi").textContent === last, before.at(-1));
    await page.evaluate(turn);
    await until(page, "rows in the old order", (first) => document.querySelector("#legend .device bdi").textContent === first, before[0]);
  },

  async "a device is isolated, pinned, found and sorted, and a link shows the same"(page, context) {
    const names = await page.locator("#legend .device bdi").allTextContents();
    await page.getByRole("button", { name: names[1], exact: true }).click();
    await page.getByRole("button", { name: `Pin ${names[2]}`, exact: true }).click();
    await until(page, "one line of one device alone", () => globalThis.fireworks.chart.plot.series.slice(1).filter(({ show }) => show).length === 1);
    await until(page, "the pinned device on top", (name) => document.querySelector("#legend .device bdi").textContent === name, names[2]);
    await untilHash(page, "only=");
    await untilHash(page, "pin=");
    const other = await context.newPage();
    await other.goto(page.url(), { waitUntil: "domcontentloaded" });
    await until(other, "the same view behind the link", () => document.querySelectorAll('#legend .device[aria-pressed="true"]').length === 1 && document.querySelectorAll('#legend .pin[aria-pressed="true"]').length === 1);
    await other.close();
    await page.locator("#legend .pin").first().click();
    await page.locator("#show-all").click();
    await page.locator("#search").fill(names[0]);
    await until(page, "the device that was searched", (name) => document.querySelector("#legend .device bdi")?.textContent === name, names[0]);
    await page.locator("#search").fill("");
    await page.locator("#value-head").click();
    await until(page, "rows in the order of their values", () => {
      const values = [...document.querySelectorAll("#legend td.value")].map((cell) => Number.parseFloat(cell.textContent.replace("\u2212", "-")));
      return values.length > 1 && values.every((value, n) => n === 0 || values[n - 1] >= value);
    });
    await page.locator("#value-head").click();
    await page.locator("#value-head").click();
    await page.mouse.move(2, 2);
    await untilHash(page, "");
  },

  async "the values are there as CSV, JSON, PNG and as a table"(page) {
    for (const [kind, begins] of [["csv", "time,"], ["json", '{"topic":'], ["png", "\u0089PNG"]]) {
      await page.locator("#save").click();
      const [file] = await Promise.all([page.waitForEvent("download", { timeout: DEADLINE_MS }), page.locator(`#save-${kind}`).click()]);
      check(file.suggestedFilename().endsWith(`.${kind}`), `the file is called ${file.suggestedFilename()}`);
      const chunks = [];
      for await (const chunk of await file.createReadStream()) chunks.push(chunk);
      const text = Buffer.concat(chunks).toString("latin1");
      check(text.startsWith(begins) && text.length > 500, `the ${kind} begins with ${text.slice(0, 20)} and has ${text.length} bytes`);
    }
    await page.locator("#save").click();
    await page.locator("#table-open").click();
    check((await page.locator("#values tbody tr").count()) > 5, "the table of values is empty");
    await page.keyboard.press("Escape");
  },

  async "everything is reached and done by keyboard alone"(page) {
    await page.evaluate(() => document.activeElement?.blur());
    const reached = new Set();
    for (let n = 0; n < 60; n++) {
      await page.keyboard.press("Tab");
      const id = await page.evaluate(() => document.activeElement?.id || document.activeElement?.className || "");
      const hasMark = await page.evaluate(() => document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== "none");
      check(hasMark, `the focus on ${id} can't be seen`);
      reached.add(id);
    }
    for (const id of ["pause", "save", "theme", "help-open", "window-select", "zoom-in", "stage", "search", "device", "pin", "bad-open", "latency-open"]) {
      check(reached.has(id), `Tab doesn't reach ${id}`);
    }
    await page.locator("#stage").focus();
    await page.keyboard.press("ArrowLeft");
    await until(page, "values beside the cursor", () => !document.getElementById("tooltip").hidden);
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("?");
    await until(page, "the help", () => document.getElementById("help-dialog").open);
    await page.keyboard.press("Escape");
    await until(page, "no help", () => !document.getElementById("help-dialog").open);
    // From the search on by Tab alone: a device alone, the same one pinned, and both undone.
    await page.locator("#legend .device").first().focus();
    await page.keyboard.press("Enter");
    await until(page, "a device alone", () => document.querySelectorAll('#legend .device[aria-pressed="true"]').length === 1);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Space");
    await until(page, "it pinned", () => document.querySelectorAll('#legend .pin[aria-pressed="true"]').length === 1);
    await page.keyboard.press("Space");
    await until(page, "it not pinned", () => document.querySelectorAll('#legend .pin[aria-pressed="true"]').length === 0);
    await page.keyboard.press("a");
    await until(page, "all devices", () => document.querySelectorAll('#legend .device[aria-pressed="true"]').length === 0);
    await page.locator("#save").focus();
    await page.keyboard.press("Enter");
    await until(page, "the menu", () => document.getElementById("save-menu").matches(":popover-open"));
    await page.keyboard.press("Tab");
    await page.keyboard.press("Tab");
    const [file] = await Promise.all([page.waitForEvent("download", { timeout: DEADLINE_MS }), page.keyboard.press("Enter")]);
    check(file.suggestedFilename().endsWith(".csv"), `the file is called ${file.suggestedFilename()}`);
    await page.evaluate(() => document.activeElement.blur());
  },

  async "axe finds nothing to complain about, in either theme, at four widths, in a pause, the menu and the dialogs"(page) {
    const size = page.viewportSize();
    const run = async (what) => {
      const found = await page.evaluate(async () => {
        const { violations } = await globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] });
        return violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ target, failureSummary }) => `${target} ${failureSummary}`).join(" | ")}`);
      });
      check(found.length === 0, `${what}: ${found.join("\n    ")}`);
    };
    await page.evaluate(axe);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      for (const [width, height] of [[390, 844], [1024, 768], [1920, 1080], [3840, 2160]]) {
        await page.setViewportSize({ width, height });
        await page.waitForTimeout(300);
        await run(`${colorScheme} at ${width}`);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        check(wide <= width, `the page is ${wide} wide on a screen of ${width}`);
      }
    }
    await page.setViewportSize(size);
    for (const [open, dialog] of [["#bad-open", "bad"], ["#latency-open", "latency"], ["#help-open", "help"]]) {
      await page.locator(open).click();
      await run(`the dialog ${dialog}`);
      await page.keyboard.press("Escape");
    }
    await page.locator("#save").click();
    await run("the menu");
    await page.locator("#table-open").click();
    await run("the table");
    await page.keyboard.press("Escape");
    await page.locator("#pause").click();
    await until(page, "the state Paused", () => document.getElementById("state").textContent === "Paused");
    await run("a pause");
    await page.locator("#pause").click();
    await page.emulateMedia({ colorScheme: null });
  },

  async "reduced motion draws once a second at most"(page) {
    await page.emulateMedia({ reducedMotion: "reduce" });
    await page.waitForTimeout(1500);
    const drawn = await page.evaluate(async () => {
      const { chart } = globalThis.fireworks;
      const times = new Set();
      const end = performance.now() + 3000;
      while (performance.now() < end) {
        times.add(chart.drawn.at);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return times.size;
    });
    check(drawn <= 5, `it was drawn ${drawn} times in three seconds`);
    await page.emulateMedia({ reducedMotion: null });
  },

  async "eight tabs are all live at once, on one stream"(page, context) {
    const tabs = await Promise.all(Array.from({ length: 7 }, () => open(context)));
    for (const tab of tabs) {
      await tab.bringToFront();
      const before = await tab.evaluate(() => globalThis.fireworks?.model.now?.records ?? 0);
      await until(tab, "movement in every tab", (records) => globalThis.fireworks?.model.now.records > records, before);
    }
    await untilStreams(page, 1);
    await Promise.all(tabs.map((tab) => tab.close()));
  },

  async "a browser without shared workers has a stream of its own"(page) {
    const context = await page.context().browser().newContext();
    await context.addInitScript(() => delete globalThis.SharedWorker);
    const other = await open(context);
    await until(other, "movement", () => globalThis.fireworks?.model.now.records > JSON.parse(document.getElementById("snapshot").textContent).now.records);
    await untilStreams(page, 2);
    await context.close();
    await untilStreams(page, 1);
  },

  async "nothing of a record becomes markup"(page) {
    const made = await page.locator("#legend :is(script, img, iframe, a), #tooltip :is(script, img)").count();
    check(made === 0, "a device's name became an element");
  },
};

const browser = await chromium.launch({ executablePath, args: ARGUMENTS, env: { ...process.env, LANG: "en_US.UTF-8" } });
let failed = false;
try {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await open(context);
  for (const [name, run] of Object.entries(checks)) {
    await page.bringToFront();
    try {
      await run(page, context);
      check(complaints.length === 0, complaints.join("\n    "));
      console.log(`ok    ${name}`);
    } catch (error) {
      failed = true;
      complaints.length = 0;
      console.log(`FAIL  ${name}\n    ${error.message}\n    the page says: ${await state(page).catch(() => "nothing")}`);
    }
  }
} finally {
  await browser.close();
}
process.exit(failed ? 1 : 0);
