// The page through what happens to a pipeline: topics come, devices by the thousand come, servers and brokers
// go and come back.
//
//   FIREWORKS=target/debug/fireworks node tests/browser/life.mjs DIRECTORY
//
// It starts and stops the processes itself, and writes their logs and the devices' tables into DIRECTORY.
// PLAYWRIGHT_CORE and CHROMIUM are as for page.mjs. Exits 0 when all holds.

import { spawn } from "node:child_process";
import { createWriteStream, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";

const fireworks = process.env.FIREWORKS ?? "target/debug/fireworks";
const directory = process.argv[2] ?? ".";
const DEADLINE_MS = Number(process.env.DEADLINE_MS ?? 60000);
const ARGUMENTS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--lang=en-US",
];
const require = createRequire(`${process.env.PLAYWRIGHT_CORE ?? process.cwd()}/`);
const { chromium } = require("playwright-core");
const axe = require("axe-core").source;

const running = new Set();

function start(name, ...given) {
  const child = spawn(fireworks, given, { stdio: ["ignore", "pipe", "pipe"], env: { PATH: process.env.PATH } });
  const log = createWriteStream(`${directory}/${name}.log`, { flags: "a" });
  child.stdout.pipe(log);
  child.stderr.pipe(log);
  running.add(child);
  child.on("exit", () => running.delete(child));
  return child;
}

function end(child, signal = "SIGKILL") {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  return ended;
}

/** A port that is free now, and stays ours by being used at once. */
const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

function table(name, ids) {
  const quoted = ids.map((id) => `"${id.replaceAll('"', '""')}",0,1`);
  const path = `${directory}/${name}.csv`;
  writeFileSync(path, `device_id,drift,volatility\n${quoted.join("\n")}\n`);
  return path;
}

function check(holds, what) {
  if (!holds) throw new Error(what);
}

const [kafkaPort, pagePort] = [await freePort(), await freePort()];
const kafka = ["--bootstrap-servers", `127.0.0.1:${kafkaPort}`];
const startBroker = () => start("broker", "broker", "--listen", `127.0.0.1:${kafkaPort}`);
const startDashboard = () => start("dashboard", "dashboard", "--topic", "readings", "--listen", `127.0.0.1:${pagePort}`, ...kafka);
const startSource = (devices, ...more) => start("generate", "generate", "--devices", devices, ...kafka, ...more);
const HOSTILE = ["<img src=x onerror=alert(1)>", "two\nlines", "</script><script>alert(2)</script>", "\u202egnp.exe", "=1+1", "plain"];

async function until(page, what, condition, argument) {
  try {
    await page.waitForFunction(condition, argument, { timeout: DEADLINE_MS, polling: 100 });
  } catch {
    const said = await page.evaluate(() => document.getElementById("badge").innerText).catch(() => "nothing");
    throw new Error(`${what}: not within ${DEADLINE_MS} ms; the page says: ${said}`);
  }
}
const untilState = (page, ...labels) =>
  until(page, `the state ${labels.join(" or ")}`, (wanted) => wanted.includes(document.getElementById("state").textContent), labels);

/** The page as it would be if its picture were another one; its stream keeps silent. */
async function openAltered(alter) {
  const context = await page.context().browser().newContext();
  await context.addInitScript(() => delete globalThis.SharedWorker);
  await context.route("**/api/stream*", () => {});
  await context.route(`http://localhost:${pagePort}/`, async (route) => {
    const response = await route.fetch();
    const body = (await response.text()).replace(/<script type="application\/json" id="snapshot">(.*?)<\/script>/s, (_, text) => {
      const snapshot = JSON.parse(text);
      alter(snapshot);
      const json = JSON.stringify(snapshot).replaceAll("<", "\\u003c");
      return `<script type="application/json" id="snapshot">${json}</script>`;
    });
    await route.fulfill({ response, body });
  });
  const other = await context.newPage();
  await other.goto(`http://localhost:${pagePort}/`);
  return other;
}

let broker = startBroker();
let dashboard = startDashboard();
let source = null;
let page = null;

const checks = {
  async "a topic that isn't there is named, with what to run"() {
    await until(page, "the name of the topic", () => document.getElementById("empty-title").textContent.includes("readings"));
    await untilState(page, "No such topic");
    check((await page.locator("#empty-run code").count()) > 0, "it doesn't say what to run");
  },

  async "hostile names stay text, everywhere"() {
    source = startSource(table("hostile", HOSTILE), "--interval", "200ms", "--advance-millis-per-batch", "200");
    await untilState(page, "Live");
    await until(page, "a row for each device", (count) => document.querySelectorAll("#legend tbody tr").length === count, HOSTILE.length);
    await page.locator("#stage").focus();
    await page.keyboard.press("ArrowLeft");
    const made = await page.evaluate(() => [
      document.querySelectorAll(":is(#legend, #tooltip, #found, dialog) :is(img, script, a, iframe)").length,
      document.querySelectorAll("body > script:not([src]):not([type='application/json'])").length,
      [...document.querySelectorAll("#legend bdi")].map((name) => name.textContent).join(),
    ]);
    check(made[0] === 0 && made[1] === 0, "a name became markup");
    check(made[2].includes("<img src=x") && !/[\n\u202e]/.test(made[2]), `the names are ${JSON.stringify(made[2])}`);
  },

  async "further numeric fields are offered, and shown with their history"() {
    await until(page, "fields to choose from", () => document.querySelectorAll("#field-select option").length >= 3);
    await Promise.all([page.waitForURL(/field=direction/), page.locator("#field-select").selectOption("direction")]);
    await until(page, "a picture of the field", () => globalThis.fireworks?.model.now?.field === "direction" && globalThis.fireworks.model.times.length > 10);
    await untilState(page, "Live");
    await page.goto(`http://localhost:${pagePort}/`);
    await untilState(page, "Live");
  },

  async "a server that is killed leaves the picture, and one that comes back fills the gap"() {
    const before = await page.evaluate(() => globalThis.fireworks.model.times.length);
    await end(dashboard);
    await untilState(page, "Reconnecting");
    check((await page.evaluate(() => globalThis.fireworks.model.times.length)) >= before, "the picture is gone");
    await page.waitForTimeout(2000);
    dashboard = startDashboard();
    await untilState(page, "Live");
    const gap = await page.evaluate(() => {
      const { times } = globalThis.fireworks.model;
      return Math.max(...times.slice(1).map((time, n) => time - times[n]));
    });
    check(gap < 1.9, `there is a gap of ${gap} s in the picture`);
    check((await page.evaluate(() => globalThis.fireworks.model.times.length)) >= before, "history is missing");
  },

  async "a server that is restarted in a pause is said to be away, and resuming fills the gap"() {
    await page.locator("#pause").click();
    await untilState(page, "Paused");
    const shown = await page.evaluate(() => globalThis.fireworks.model.now.records);
    await end(dashboard);
    await untilState(page, "Paused · Reconnecting");
    dashboard = startDashboard();
    await untilState(page, "Paused");
    check((await page.evaluate(() => globalThis.fireworks.model.now.records)) === shown, "the picture changed in a pause");
    await page.locator("#pause").click();
    await untilState(page, "Live");
    const gap = await page.evaluate(() => {
      const { times } = globalThis.fireworks.model;
      return Math.max(...times.slice(1).map((time, n) => time - times[n]));
    });
    check(gap < 1.9, `there is a gap of ${gap} s in the picture`);
  },

  async "a tab that nobody sees while the server is restarted shows a whole picture when it is seen again"() {
    const context = await page.context().browser().newContext();
    await context.clock.install();
    const tab = await context.newPage();
    await tab.goto(`http://localhost:${pagePort}/`);
    await untilState(tab, "Live");
    const turn = (isHidden) =>
      tab.evaluate((hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      }, isHidden);
    const seen = () => tab.evaluate(() => [globalThis.fireworks.model.about.epoch, globalThis.fireworks.model.now.at]);
    await turn(true);
    await context.clock.fastForward(61000);
    await end(dashboard);
    const before = await seen();
    dashboard = startDashboard();
    await untilState(page, "Live");
    await page.waitForTimeout(2000);
    check((await seen()).join() === before.join(), "it went on without being seen");
    await turn(false);
    await until(tab, "the picture of the next server", (epoch) => globalThis.fireworks.model.about.epoch !== epoch, before[0]);
    await untilState(tab, "Live");
    await until(tab, "what comes after it", (at) => globalThis.fireworks.model.now.at > at + 3000, before[1]);
    const gap = await tab.evaluate(() => {
      const { times } = globalThis.fireworks.model;
      return Math.max(...times.slice(1).map((time, n) => time - times[n]));
    });
    check(gap < 1.9, `there is a gap of ${gap} s in the picture`);
    await context.close();
  },

  async "a source that stops is told apart from a Kafka that does, and both come back"() {
    source.kill("SIGSTOP");
    await untilState(page, "Stale");
    await until(page, "what to do", () => document.getElementById("help").textContent.includes("producer"));
    source.kill("SIGCONT");
    await untilState(page, "Live");
    const before = await page.evaluate(() => [globalThis.fireworks.model.about.epoch, globalThis.fireworks.model.now.records]);
    broker.kill("SIGSTOP");
    await untilState(page, "No Kafka");
    await until(page, "what to do", () => document.getElementById("help").textContent.includes("--bootstrap-servers"));
    broker.kill("SIGCONT");
    await untilState(page, "Live");
    await until(page, "what comes after it", (records) => globalThis.fireworks.model.now.records > records, before[1]);
    check((await page.evaluate(() => globalThis.fireworks.model.about.epoch)) === before[0], "it is another picture");
  },

  async "a history that loads says how far it is"() {
    // For a moment only, but where there is much to read.
    const other = await openAltered((snapshot) => {
      Object.assign(snapshot, { series: [], columns: [], top: [], latest: [] });
      snapshot.now.state = { kind: "loading", done: 1, total: 4 };
    });
    await untilState(other, "Loading history");
    await until(other, "how far it is", () => document.getElementById("detail").textContent === "25 %" && document.getElementById("empty-text").textContent === "25 %");
    await other.context().close();
  },

  async "a partition without a leader is named, with what can be done, in a pause too"() {
    // What a server says then is seen on three brokers, in tests/dashboard_leader.rs.
    const one = await openAltered(({ now }) => Object.assign(now, { partitions: 3, leaderless: [1] }));
    await untilState(one, "Incomplete");
    const said = await one.evaluate(() => ["detail", "help"].map((id) => document.getElementById(id).textContent));
    check(said[0] === "partition 1 has no leader", `it says: ${said[0]}`);
    check(/Partition 1 has no leader.*Start its broker: the other partitions go on/.test(said[1]), `it says: ${said[1]}`);
    await one.locator("#pause").click();
    await untilState(one, "Paused · Incomplete");
    await one.context().close();
    const all = await openAltered((snapshot) => {
      Object.assign(snapshot, { series: [], columns: [], top: [], latest: [] });
      Object.assign(snapshot.now, { state: { kind: "empty" }, records: 0, partitions: 2, leaderless: [0, 1] });
    });
    await untilState(all, "No leader");
    await until(all, "what to do", () => /Start their brokers/.test(document.getElementById("empty-text").textContent));
    await all.context().close();
  },

  async "thousands of devices become a crowd, in which one can be found and pinned"() {
    await end(source, "SIGTERM");
    const ids = Array.from({ length: 4990 }, (_, n) => `device-${n}`);
    source = startSource(table("crowd", ids), "--interval", "4s", "--advance-millis-per-batch", "4000");
    await until(page, "all devices", () => globalThis.fireworks.model.now.devices >= 4990);
    await until(page, "their spread", () => globalThis.fireworks.model.now.crowd && [...globalThis.fireworks.model.columns.values()].some(({ q }) => q?.length === 23));
    // A bound that lies right on a row's edge, as the median does at zero.
    const [least, most] = await page.evaluate(async () => {
      const { LEVELS, sharesByRow } = await import(document.querySelector("script[type=module]").src.replace("app.js", "layers.js"));
      const shares = sharesByRow(LEVELS.map((level) => 140 * level - 70), -70, 1);
      return [Math.min(...shares), Math.max(...shares)];
    });
    check(Math.abs(least * 140 - 1) < 0.01 && Math.abs(most * 140 - 1) < 0.01, `of an even crowd a row has from ${least} to ${most}`);
    await page.locator("#search").fill("device-4321");
    await page.locator("#found li .pin").click();
    await until(page, "the pinned device in the list", () => [...document.querySelectorAll('#legend .pin[aria-pressed="true"]')].length === 1);
    await until(page, "its line", () => globalThis.fireworks.chart.lines.some(({ device }, n) => device.id === "device-4321" && globalThis.fireworks.chart.plot.series[n + 1].show));
    await page.locator("#search").fill("");
    await page.evaluate(axe);
    const found = await page.evaluate(async () => {
      const { violations } = await globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] });
      return violations.map(({ id, nodes }) => `${id}: ${nodes[0].target} ${nodes[0].failureSummary}`);
    });
    check(found.length === 0, found.join("\n    "));
    await page.locator("#save").click();
    await page.locator("#table-open").click();
    const heads = await page.locator("#values thead th").allTextContents();
    check(heads.join().startsWith("time,1 %,25 %,median,75 %,99 %"), `the table has ${heads.slice(0, 8)}`);
    check(heads.includes("device-4321"), "the pinned device isn't in the table");
    await page.keyboard.press("Escape");
  },

  async "a broker that is gone is said to be, and the page goes on with the next one"() {
    const before = await page.evaluate(() => globalThis.fireworks.model.times.length);
    await end(broker);
    await untilState(page, "No Kafka");
    check((await page.evaluate(() => globalThis.fireworks.model.times.length)) >= Math.min(before, 10), "the picture is gone");
    await end(source);
    broker = startBroker();
    source = startSource("3", "--interval", "200ms", "--advance-millis-per-batch", "200");
    await until(page, "the new topic's devices", () => globalThis.fireworks.model.now.devices === 3);
    await untilState(page, "Live");
  },
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ARGUMENTS,
  env: { ...process.env, LANG: "en_US.UTF-8" },
});
let failed = false;
try {
  page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("dialog", (dialog) => (errors.push(`a dialog: ${dialog.message()}`), dialog.dismiss()));
  const opened = Date.now();
  while (!(await page.goto(`http://localhost:${pagePort}/`).catch(() => null))) {
    check(Date.now() - opened < DEADLINE_MS, "the dashboard doesn't answer");
    await page.waitForTimeout(100);
  }
  for (const [name, run] of Object.entries(checks)) {
    try {
      await run();
      check(errors.length === 0, errors.join("\n    "));
      console.log(`ok    ${name}`);
    } catch (error) {
      failed = true;
      console.log(`FAIL  ${name}\n    ${[error.message, ...errors].join("\n    ")}`);
      errors.length = 0;
    }
  }
} finally {
  await browser.close();
  await Promise.all([...running].map((child) => end(child)));
}
process.exit(failed ? 1 : 0);
