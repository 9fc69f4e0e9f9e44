// Shows what the stream of events tells: everything once, then what changed. Nothing of it is taken for
// markup: text becomes text nodes only.
"use strict";

const ROWS = 200; // Units that are shown at once; a button shows more.
const SILENCE_MS = 45000; // Three signs of life missed.
const RETRY_MS = 2000;
const ARMED_MS = 4000; // In which a second click confirms the first,
const DOUBLE_MS = 500; // but not one that belongs to it: a double click.

const byId = (id) => document.getElementById(id);
const key = (node, name) => `${node}\n${name}`;

const view = { manager: { connected: true }, nodes: [], units: new Map(), jobs: [], events: [], token: null, offset: 0 };
let shown = ROWS;
let isLinked = false;
let isComplete = false;

// Elements.

function make(tag, className, ...content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/// Puts the children into this order, and moves only those that are elsewhere, so that whoever reads or
/// types there stays.
function arrange(parent, children) {
  const focused = document.activeElement;
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  children.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

/// Keeps an element for each key as long as there is something to show with it.
class Rows {
  constructor(parent, create, update) {
    Object.assign(this, { parent, create, update, rows: new Map() });
  }
  show(items) {
    const rows = new Map();
    for (const [id, item] of items) {
      const row = this.rows.get(id) ?? this.create(id, item);
      this.update(row, item);
      rows.set(id, row);
    }
    this.rows = rows;
    arrange(this.parent, [...rows.values()]);
  }
  /// For keys that name something else from here on.
  forget() {
    this.rows.clear();
  }
}

// Words.

const CHANGING = new Set(["activating", "deactivating", "reloading", "refreshing", "maintenance"]);
const BAD = new Set(["lost", "offline", "failed", "timeout", "dependency", "node-lost"]);
const GOOD = new Set(["connected", "online", "active", "done"]);
const ORDER = { failed: 0, changing: 1, active: 2, inactive: 3 };

function kind(active) {
  if (active === "failed" || active === "active") return active;
  return CHANGING.has(active) ? "changing" : "inactive";
}

/// What people start and stop comes first: services, then what starts them.
function typeRank(name) {
  if (name.endsWith(".service")) return 0;
  return /\.(timer|socket|path)$/.test(name) ? 1 : 2;
}

function ago(time) {
  const seconds = Math.max(0, Math.round((Date.now() + view.offset - time) / 1000));
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

function clock(time) {
  return new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
}

// Filter.

const form = byId("filter");
const filter = { text: "", node: "", state: "" };

function readFragment() {
  const given = new URLSearchParams(location.hash.slice(1));
  filter.text = given.get("q") ?? "";
  filter.node = given.get("node") ?? "";
  filter.state = given.get("state") ?? "";
  if (!Object.hasOwn(ORDER, filter.state)) filter.state = "";
}

function setFilter(change) {
  Object.assign(filter, change);
  const given = new URLSearchParams();
  if (filter.state) given.set("state", filter.state);
  if (filter.node) given.set("node", filter.node);
  if (filter.text) given.set("q", filter.text);
  const fragment = given.toString();
  history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname + location.search);
  shown = ROWS;
  draw();
}

function isWanted(unit) {
  if (filter.node && unit.node !== filter.node) return false;
  return !filter.text || filter.text.toLowerCase().split(/\s+/)
    .every((word) => `${unit.name} ${unit.description} ${unit.node}`.toLowerCase().includes(word));
}

// What is drawn.

const nodeRows = new Rows(byId("nodes"), (name) => {
  const card = make("button", "node-card", make("strong", "", name), make("span", "chip"), make("small"), make("small"));
  card.type = "button";
  const bar = make("span", "bar", make("i", "failed"), make("i", "changing"), make("i", "active"), make("i"));
  bar.setAttribute("aria-hidden", "true");
  card.append(bar);
  card.addEventListener("click", () => setFilter({ node: filter.node === name ? "" : name }));
  return make("li", "", card);
}, (row, { node, counts }) => {
  const card = row.firstChild;
  const [, chip, address, units, bar] = card.children;
  card.className = node.online ? "node-card" : "node-card offline";
  card.setAttribute("aria-pressed", String(filter.node === node.name));
  chip.className = node.online ? "chip active" : "chip failed";
  setText(chip, node.online ? "online" : "offline");
  const seen = node.seen ? `last seen ${ago(node.seen)}` : "never seen";
  setText(address, node.online ? node.ip ?? "on this machine" : seen);
  const failed = counts.failed ? `${counts.failed} failed · ` : "";
  setText(units, node.online ? `${failed}${counts.active} active` : "its units are unknown");
  const parts = [counts.failed, counts.changing, counts.active, counts.inactive];
  // Few units are still seen beside many.
  const all = parts.reduce((a, b) => a + b, 0);
  parts.forEach((part, i) => {
    bar.children[i].hidden = !part;
    bar.children[i].style.flexGrow = Math.max(part, all / 40);
  });
});

const unitRows = new Rows(byId("units"), (id, unit) => {
  const what = make("div", "what", make("div", "name", unit.name), make("div", "about", make("span"), make("span")));
  const where = make("div", "where", make("b", "", unit.node), make("span"));
  const row = make("li", "unit", make("span", "chip"), what, where, make("div", "acts"));
  row.dataset.unit = unit.name;
  row.dataset.node = unit.node;
  return row;
}, (row, unit) => {
  const [chip, what, where, acts] = row.children;
  const state = kind(unit.active);
  if (row.dataset.state && row.dataset.state !== unit.active) {
    row.classList.remove("changed");
    requestAnimationFrame(() => row.classList.add("changed"));
  }
  row.dataset.state = unit.active;
  row.classList.toggle("is-failed", state === "failed");
  const isUsual = ["", "loaded", "unloaded"].includes(unit.load);
  chip.className = `chip ${state}`;
  setText(chip, isUsual || state !== "inactive" ? unit.active : unit.load);
  setText(what.children[1].children[0], unit.load === "unloaded" ? "not loaded" : unit.sub);
  setText(what.children[1].children[1], unit.description && unit.description !== unit.name ? ` · ${unit.description}` : "");
  setText(where.children[1], unit.since ? ` ${ago(unit.since)}` : "");
  const wanted = view.token && isUsual ? (state === "inactive" || state === "failed" ? "start" : "restart stop") : "";
  if (acts.dataset.wanted !== wanted) {
    acts.dataset.wanted = wanted;
    const isFocused = acts.contains(document.activeElement);
    acts.replaceChildren(...wanted.split(" ").filter(Boolean).map((action) => actionButton(action, unit)));
    if (isFocused) acts.firstChild?.focus({ preventScroll: true });
  }
});

const jobRows = new Rows(byId("jobs"), (id, job) => make("li", "", make("span", "chip changing"),
  `${job.kind} `, make("bdi", "", job.unit), make("small", "", `on ${job.node} · job ${job.id}`)),
(row, job) => setText(row.firstChild, job.state));

const eventRows = new Rows(byId("events"), (id, event) => {
  const row = make("li", eventKind(event), ...sentence(event));
  const time = make("time", "", clock(event.at));
  time.dateTime = new Date(event.at).toISOString();
  row.append(make("small", "", time));
  return row;
}, () => {});

function eventKind(event) {
  if (BAD.has(event.state)) return "failed";
  if (GOOD.has(event.state)) return "active";
  return CHANGING.has(event.state) ? "changing" : "inactive";
}

function sentence(event) {
  const name = (text) => make("bdi", "", text);
  switch (event.about) {
    case "manager": return event.state === "connected" ? ["Connected to the manager"] : [`Lost the manager: ${event.detail}`];
    case "node": return ["Node ", name(event.node), ` is ${event.state}`];
    case "job": return [`${event.detail || "Job"} of `, name(event.unit), ` on ${event.node}: ${event.state}`];
    default: return [name(event.unit), ` on ${event.node} is ${event.state}`, event.detail && event.detail !== event.state ? ` (${event.detail})` : ""];
  }
}

let isDue = false;
let restUntil = 0;
function draw() {
  if (isDue) return;
  isDue = true;
  // Not in a frame of the animation: a page in the background has none, and is to be right when it is seen.
  setTimeout(() => {
    isDue = false;
    const begun = performance.now();
    drawNow();
    const ended = performance.now();
    // Tens of thousands of units take long, and people scroll and type meanwhile.
    restUntil = ended + 3 * (ended - begun);
  }, restUntil - performance.now());
}

function drawNow() {
  drawFilter();
  drawLink();
  if (!isComplete) return;
  const none = () => ({ failed: 0, changing: 0, active: 0, inactive: 0 });
  const ofNode = new Map(view.nodes.map((node) => [node.name, none()]));
  const all = none();
  const matching = none();
  const wanted = [];
  for (const unit of view.units.values()) {
    const state = kind(unit.active);
    all[state] += 1;
    const counts = ofNode.get(unit.node);
    if (counts) counts[state] += 1;
    if (!isWanted(unit)) continue;
    matching[state] += 1;
    if (!filter.state || filter.state === state) wanted.push(unit);
  }
  const place = new Map(view.nodes.map((node, index) => [node.name, index]));
  const rank = (unit) => 10 * ORDER[kind(unit.active)] + (unit.load && unit.load !== "loaded" ? 5 : 0) + typeRank(unit.name);
  wanted.sort((a, b) => rank(a) - rank(b) || place.get(a.node) - place.get(b.node) || (a.name < b.name ? -1 : 1));

  nodeRows.show(view.nodes.map((node) => [node.name, { node, counts: ofNode.get(node.name) }]));
  unitRows.show(wanted.slice(0, shown).map((unit) => [key(unit.node, unit.name), unit]));
  jobRows.show(view.jobs.map((job) => [job.id, job]));
  eventRows.show(view.events.map((event) => [event.id, event]).reverse());
  drawCounts(all, matching, wanted.length);
}

function drawCounts(all, matching, wanted) {
  const online = view.nodes.filter((node) => node.online).length;
  setText(byId("tile-nodes").firstChild, `${online}/${view.nodes.length}`);
  byId("tile-nodes").classList.toggle("bad", online < view.nodes.length);
  setText(byId("tile-failed").firstChild, String(all.failed));
  byId("tile-failed").classList.toggle("bad", all.failed > 0);
  setText(byId("tile-active").firstChild, String(all.active));
  setText(byId("tile-jobs").firstChild, String(view.jobs.length));
  byId("tile-jobs").classList.toggle("warm", view.jobs.length > 0);
  const matched = Object.values(matching).reduce((a, b) => a + b, 0);
  setText(byId("count-all"), String(matched));
  for (const state of Object.keys(ORDER)) setText(byId(`count-${state}`), String(matching[state]));
  byId("no-nodes").hidden = view.nodes.length > 0;
  byId("no-jobs").hidden = view.jobs.length > 0;
  byId("no-events").hidden = view.events.length > 0;
  const isFiltered = Boolean(filter.text || filter.node || filter.state);
  byId("no-units").hidden = wanted > 0;
  byId("clear").hidden = !isFiltered;
  const offline = view.nodes.find((node) => node.name === filter.node && !node.online);
  setText(byId("no-units").firstChild, offline ? `Node ${filter.node} is offline: its units are unknown.`
    : isFiltered ? "No unit is as the filter says." : "There are no units: no node is online.");
  byId("more").hidden = wanted <= shown;
  setText(byId("more"), `Show more (${wanted - shown} left)`);
  document.title = all.failed ? `(${all.failed}) hirte` : "hirte";
}

function drawFilter() {
  const text = byId("text");
  if (text.value.trim() !== filter.text) text.value = filter.text;
  const select = byId("node");
  const names = view.nodes.map((node) => node.name);
  if (filter.node && !names.includes(filter.node)) names.push(filter.node);
  if (select.options.length !== names.length + 1 || names.some((name, i) => select.options[i + 1].value !== name)) {
    select.replaceChildren(select.options[0], ...names.map((name) => new Option(name, name)));
  }
  select.value = filter.node;
  for (const radio of form.querySelectorAll("[name=state]")) radio.checked = radio.value === filter.state;
}

function drawLink() {
  const chip = byId("link");
  const [state, word, why] = !isLinked
    ? ["changing", isComplete ? "reconnecting" : "connecting", isComplete ? "The connection to the dashboard is lost. What is shown may be old; trying again." : ""]
    : view.manager.connected ? ["active", "live", ""]
      : ["failed", "no manager", `No connection to the manager, trying again. ${isComplete && view.nodes.length ? "What is shown may be old. " : ""}${view.manager.reason ?? ""}`];
  chip.className = `chip ${state}`;
  setText(chip, word);
  setText(byId("banner"), why);
  byId("banner").hidden = !why;
  document.body.classList.toggle("stale", Boolean(why));
}

// What is told.

function say(words) {
  byId("say").textContent = words;
}

function takeEvents(events) {
  const last = view.events.at(-1)?.id ?? 0;
  const news = events.filter((event) => event.id > last);
  view.events = [...view.events, ...news].slice(-200);
  const urgent = news.filter((event) => eventKind(event) === "failed");
  if (urgent.length) say(sentence(urgent.at(-1)).map((part) => part.textContent ?? part).join(""));
}

function takeAll(data) {
  view.manager = data.manager;
  view.nodes = data.nodes;
  view.units = new Map(data.units.map((unit) => [key(unit.node, unit.name), unit]));
  view.jobs = data.jobs;
  view.events = data.events;
  view.token = data.control ?? null;
  setText(byId("version"), `hirte-dashboard ${data.version}`);
  isComplete = true;
  // A dashboard that was started anew counts anew.
  eventRows.forget();
  jobRows.forget();
}

function takeChange(data) {
  if (data.manager) view.manager = data.manager;
  if (data.nodes) view.nodes = data.nodes;
  for (const unit of data.units ?? []) view.units.set(key(unit.node, unit.name), unit);
  for (const { node, name } of data.gone ?? []) view.units.delete(key(node, name));
  if (data.jobs) view.jobs = data.jobs;
  if (data.events) takeEvents(data.events);
}

let source = null;
let heardAt = 0;

function connect() {
  source?.close();
  source = new EventSource("api/events");
  heardAt = Date.now();
  const heard = (take) => (event) => {
    const data = JSON.parse(event.data);
    heardAt = Date.now();
    view.offset = data.now - heardAt;
    isLinked = true;
    take(data);
    draw();
  };
  source.addEventListener("all", heard(takeAll));
  source.addEventListener("change", heard(takeChange));
  source.addEventListener("beat", heard(() => {}));
  source.addEventListener("open", () => { heardAt = Date.now(); isLinked = isComplete; draw(); });
  source.addEventListener("error", () => {
    isLinked = false;
    draw();
    // The browser itself tries again, but not after an answer that is no stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
  });
}

setInterval(() => {
  if (Date.now() - heardAt > SILENCE_MS) {
    isLinked = false;
    connect();
  }
  draw();
}, 10000);

// What is asked for.

let noticeTimer = 0;
function complain(words) {
  const notice = byId("notice");
  notice.hidden = false;
  notice.textContent = words;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { notice.hidden = true; }, 10000);
}

function actionButton(action, unit) {
  const word = action[0].toUpperCase() + action.slice(1);
  const button = make("button", "", word);
  button.type = "button";
  button.dataset.action = action;
  button.setAttribute("aria-label", `${word} ${unit.name} on ${unit.node}`);
  let timer = 0;
  let armedAt = 0;
  const disarm = () => {
    clearTimeout(timer);
    button.classList.remove("armed");
    button.textContent = word;
    button.setAttribute("aria-label", `${word} ${unit.name} on ${unit.node}`);
  };
  button.addEventListener("click", () => {
    if (button.hasAttribute("aria-disabled")) return;
    if (action !== "start" && !button.classList.contains("armed")) {
      button.classList.add("armed");
      button.textContent = `Really ${action}?`;
      button.setAttribute("aria-label", `Really ${action} ${unit.name} on ${unit.node}?`);
      timer = setTimeout(disarm, ARMED_MS);
      armedAt = performance.now();
      return;
    }
    if (action !== "start" && performance.now() - armedAt < DOUBLE_MS) return;
    disarm();
    order(action, unit, button);
  });
  // A key that is held down is one click.
  button.addEventListener("keydown", (event) => { if (event.repeat && event.key === "Enter") event.preventDefault(); });
  return button;
}

async function order(action, unit, button) {
  // Not really disabled: that would take the focus from who uses the keyboard.
  button.setAttribute("aria-disabled", "true");
  try {
    const answer = await fetch("api/jobs", {
      method: "POST",
      headers: { "content-type": "application/json", "x-hirte-token": view.token },
      body: JSON.stringify({ node: unit.node, unit: unit.name, action }),
    });
    // What is in between, and a refusal of the page itself, answers with no JSON.
    const data = await answer.json().catch(() => null) ?? {};
    if (answer.ok && data.job) say(`Job ${data.job}: ${action} ${unit.name} on ${unit.node}`);
    else complain(data.error ?? `${action} ${unit.name} on ${unit.node}: the answer was ${answer.status} ${answer.statusText}`.trim());
  } catch (error) {
    complain(`The dashboard can not be reached: ${error.message}`);
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

// What people do.

byId("text").addEventListener("input", (event) => setFilter({ text: event.target.value.trim() }));
byId("node").addEventListener("change", (event) => setFilter({ node: event.target.value }));
form.addEventListener("change", (event) => {
  if (event.target.name === "state") setFilter({ state: event.target.value });
});
form.addEventListener("submit", (event) => event.preventDefault());
byId("clear").addEventListener("click", () => { setFilter({ text: "", node: "", state: "" }); byId("text").focus(); });
byId("more").addEventListener("click", () => { shown += ROWS; draw(); });
byId("tile-nodes").addEventListener("click", () => byId("nodes-title").scrollIntoView());
byId("tile-jobs").addEventListener("click", () => byId("jobs-title").scrollIntoView());
for (const id of ["tile-failed", "tile-active"]) {
  byId(id).addEventListener("click", () => setFilter({ text: "", node: "", state: byId(id).dataset.state }));
}
addEventListener("hashchange", () => { readFragment(); draw(); });
addEventListener("keydown", (event) => {
  const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    byId("text").focus();
  }
});

readFragment();
draw();
connect();
