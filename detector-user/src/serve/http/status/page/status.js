// The page: one stream of events from the daemon, shown in place.
import { detail } from "./status/detail.js";
import { age, bare, breakerText, byId, draw, element, flowsOf, heldText, mark, measured, plural, put, seconds, setClock, short, sparkline, time, words } from "./status/text.js";

const VERDICTS = ["dead", "suspect", "degraded", "unknown", "alive"];
const KEPT_TRANSITIONS = 100;
const STALE_AFTER = 4000, AGAIN_AFTER = 5000, EXPLAIN_EVERY = 2000;
const peers = new Map(); // name -> { state, wrong, advice, history, row }
let transitions = [], reported = { locks: [], cascades: [] };
let heardAt = 0, step = 10, order = "name", chosen = null;


function newRow(name) {
  const row = { tr: element("tr") };
  for (const column of ["peer", "verdict", "breaker", "wrong", "since", "rtt", "loss", "flows", "health"]) {
    row[column] = element("td", column);
    row.tr.append(row[column]);
  }
  const open = element("button", "", bare(name));
  open.type = "button";
  open.title = name;
  row.peer.append(open);
  row.mark = element("span", "mark");
  row.verdict.append(row.mark);
  row.srtt = sparkline();
  row.rtt.append(row.srtt.box);
  row.lost = sparkline();
  row.loss.append(row.lost.box);
  row.tr.addEventListener("click", () => choose(name));
  return row;
}
function showRow(peer) {
  const { state, row, history } = peer, values = measured(state);
  mark(row.tr, "verdict", state.verdict);
  mark(row.mark, "hue", state.verdict);
  put(row.mark, state.verdict);
  put(row.breaker, breakerText(state));
  const wrong = notes(peer).join("; ");
  put(row.wrong, wrong);
  row.wrong.title = wrong;
  mark(row.tr, "held", state.override ? "yes" : "no");
  put(row.since, age(state.changed_at));
  draw(row.srtt, values.srtt === null ? "–" : short(values.srtt), history.srtt, 1);
  draw(row.lost, values.loss === null ? "–" : (100 * values.loss).toFixed(1) + " %", history.loss, 20);
  const stalled = state.stalled_flows;
  put(row.flows, flowsOf(state) + (stalled ? ", " + stalled + " stalled" : ""));
  put(row.health, state.health === null ? "–" : String(state.health.score));
}

// An override comes first: it is why the breaker may not follow the verdict.
function notes(peer) {
  return [heldText(peer.state), ...peer.wrong].filter((text) => text);
}

function compare(a, b) {
  const rank = (peer) => (order === "worst" ? VERDICTS.indexOf(peer.state.verdict) : 0);
  return rank(a) - rank(b) || a.state.peer.localeCompare(b.state.peer, undefined, { numeric: true });
}
// Rows move only if their order has changed, which by name is when a peer comes or goes.
function arrange() {
  const sought = byId("filter").value.trim().toLowerCase();
  const sorted = [...peers.values()].sort(compare), body = byId("rows");
  let next = body.firstElementChild;
  for (const peer of sorted) {
    const { row, state } = peer;
    const text = state.peer + " " + state.verdict + " " + state.reason + " " + state.addresses.join(" ") + " " + (heldText(state) || "");
    row.tr.hidden = sought !== "" && !text.toLowerCase().includes(sought);
    if (row.tr === next) next = next.nextElementSibling;
    else body.insertBefore(row.tr, next);
  }
}

function sentence(count, all) {
  const isolated = [...peers.values()].some((peer) => peer.state.isolated);
  if (all === 0) return ["No peers are watched.", "unknown"];
  if (isolated) return ["This node itself may be isolated: its verdicts are held.", "suspect"];
  for (const verdict of VERDICTS.slice(0, 3)) {
    const n = count[verdict];
    if (n) return [n + " of " + plural(all, "peer") + (n === 1 ? " is " : " are ") + verdict + ".", verdict];
  }
  if (count.unknown) return ["Nothing is known yet of " + plural(count.unknown, "peer") + ".", "unknown"];
  return [all === 1 ? "The only peer is alive." : "All " + all + " peers are alive.", "alive"];
}
function showOverall() {
  const count = Object.fromEntries(VERDICTS.map((verdict) => [verdict, 0]));
  for (const peer of peers.values()) if (peer.state.verdict in count) count[peer.state.verdict] += 1;
  const [text, verdict] = sentence(count, peers.size);
  const observes = [...peers.values()].some((peer) => peer.state.mode === "observe");
  put(byId("sentence"), text + (observes ? " Only observed: no breaker opens." : ""));
  mark(byId("sentence"), "verdict", verdict);
  for (const item of byId("counts").children) {
    put(item.firstChild, String(count[item.dataset.hue]));
    item.className = count[item.dataset.hue] ? "some" : "";
  }
  const bad = count.dead + count.suspect + count.degraded;
  document.title = (bad ? "(" + bad + ") " : "") + "detector " + byId("host").textContent;
}
function fill(list, items, none) {
  list.replaceChildren(...(items.length ? items : [element("li", "none", none)]));
}
function entry(left, right, note, hue) {
  const item = element("li"), first = element("span", hue ? "mark" : "", left);
  if (hue) first.dataset.hue = hue;
  item.append(first, element("span", "quiet", right));
  if (note) item.append(element("span", "note", note));
  return item;
}
function showPanels() {
  const bad = [...peers.values()].filter((peer) => !["alive", "unknown"].includes(peer.state.verdict) || notes(peer).length);
  bad.sort((a, b) => VERDICTS.indexOf(a.state.verdict) - VERDICTS.indexOf(b.state.verdict) || a.state.peer.localeCompare(b.state.peer));
  fill(byId("attention"), bad.map((peer) => {
    const note = [...notes(peer), "breaker " + breakerText(peer.state)].join("; ");
    const item = entry(bare(peer.state.peer), peer.state.verdict + " " + age(peer.state.changed_at), note, peer.state.verdict);
    item.title = note;
    return item;
  }), "Nothing.");
  fill(byId("transitions"), transitions.map((one) =>
    entry(bare(one.peer), time(one.at), words(one.from) + " → " + words(one.to) + " (" + words(one.reason) + "), breaker " + words(one.breaker), one.to)), "None yet.");
  const locks = reported.locks.map((lock) => entry(lock.lock, words(lock.health), plural(lock.timeouts, "time-out") + " of " + plural(lock.attempts, "attempt"), lock.health === "unhealthy" ? "dead" : "degraded"));
  const cascades = reported.cascades.map((one) => entry(one.component || words(one.pattern), time(one.detected_at), one.summary, "suspect"));
  fill(byId("reported"), [...cascades, ...locks], "None.");
}

function take(entryOf) {
  const name = entryOf.state.peer, known = peers.get(name);
  const empty = () => ({ srtt: Array(60).fill(null), loss: Array(60).fill(null) });
  const peer = Object.assign(known || { history: empty(), row: newRow(name) }, entryOf);
  peers.set(name, peer);
  return peer;
}
function forget(name) {
  const peer = peers.get(name);
  if (peer) peer.row.tr.remove();
  peers.delete(name);
}
function remember(one) {
  const peer = peers.get(one.peer), known = (value) => (value === 0 ? null : value);
  if (!peer) return;
  peer.history.srtt = one.srtt_micros.map(known);
  peer.history.loss = one.loss_permille.map((loss, index) => (one.srtt_micros[index] === 0 && loss === 0 ? null : loss));
  step = seconds(one.step);
}
function sample() {
  for (const peer of peers.values()) {
    const { state, history } = peer;
    const { srtt, loss } = measured(state);
    for (const [values, value] of [[history.srtt, srtt && srtt * 1e6], [history.loss, loss && loss * 1000]]) {
      values.push(value);
      values.shift();
    }
    showRow(peer);
  }
}
function addTransitions(added) {
  const told = new Set(transitions.map((one) => one.revision));
  transitions = [...added.filter((one) => !told.has(one.revision)), ...transitions].sort((a, b) => b.revision - a.revision).slice(0, KEPT_TRANSITIONS);
}
function alive(at) {
  setClock(at);
  heardAt = performance.now();
  showLink();
}
function showLink() {
  const live = heardAt > 0 && performance.now() - heardAt < STALE_AFTER;
  document.body.classList.toggle("stale", !live);
  mark(byId("link"), "link", live ? "live" : "lost");
  const lost = heardAt === 0 ? "connecting" : "no news for " + Math.round((performance.now() - heardAt) / 1000) + " s";
  put(byId("link"), live ? "live" : lost);
}

function onSnapshot(snapshot) {
  put(byId("host"), snapshot.host);
  const there = new Set(snapshot.peers.map((one) => one.state.peer));
  for (const name of [...peers.keys()]) if (!there.has(name)) forget(name);
  snapshot.peers.forEach(take);
  snapshot.histories.forEach(remember);
  transitions = [];
  addTransitions(snapshot.histories.flatMap((one) => one.transitions));
  reported = snapshot.reported;
  put(byId("more"), snapshot.more ? "and " + plural(snapshot.more, "more peer") + ": detector peers lists them all" : "");
  alive(snapshot.at);
  peers.forEach(showRow);
  refresh();
}
function onChange(change) {
  alive(change.at);
  change.removed.forEach(forget);
  for (const one of change.peers) showRow(take(one));
  addTransitions(change.transitions);
  if (change.reported) reported = change.reported;
  if (change.peers.length || change.removed.length || change.transitions.length || change.reported) refresh();
}
function refresh() {
  arrange();
  showOverall();
  showPanels();
}

function connect() {
  const events = new EventSource("/status/events");
  events.addEventListener("snapshot", (event) => onSnapshot(JSON.parse(event.data)));
  events.addEventListener("change", (event) => onChange(JSON.parse(event.data)));
  events.addEventListener("error", () => {
    // The browser tries again by itself, unless the daemon refused.
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, AGAIN_AFTER);
  });
}

function choose(name) {
  chosen = name;
  history.replaceState(null, "", name === null ? location.pathname : "#" + encodeURIComponent(name));
  byId("detail").hidden = name === null;
  if (name !== null) {
    put(byId("detail-peer"), name);
    byId("detail-body").replaceChildren(element("p", "quiet", "…"));
    byId("close").focus({ preventScroll: true });
    explain();
  }
}
async function explain() {
  const name = chosen;
  if (name === null) return;
  try {
    const answer = await fetch("/status/peer/" + encodeURIComponent(name));
    if (!answer.ok) throw new Error(await answer.text());
    const explanation = await answer.json();
    if (chosen === name) byId("detail-body").replaceChildren(...detail(explanation, peers.get(name)));
  } catch (error) {
    if (chosen === name) byId("detail-body").replaceChildren(element("p", "quiet", String(error.message || error)));
  }
}
function start() {
  for (const verdict of VERDICTS) {
    const item = element("li");
    item.dataset.hue = verdict;
    item.append(element("b", "", "0"), element("span", "", verdict));
    byId("counts").append(item);
  }
  showPanels();
  byId("filter").addEventListener("input", arrange);
  byId("order").addEventListener("change", (event) => { order = event.target.value; arrange(); });
  byId("close").addEventListener("click", () => choose(null));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") choose(null); });
  setInterval(() => { showLink(); for (const { state, row } of peers.values()) put(row.since, age(state.changed_at)); }, 1000);
  setInterval(explain, EXPLAIN_EVERY);
  (function again() { setTimeout(() => { sample(); again(); }, step * 1000); })();
  connect();
  if (location.hash.length > 1) choose(decodeURIComponent(location.hash.slice(1)));
}
start();
