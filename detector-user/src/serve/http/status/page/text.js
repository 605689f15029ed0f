// Text, ages and sparklines. Strings of the network are only ever text: textContent, no markup.
export const byId = (id) => document.getElementById(id);
export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
export function put(node, text) { if (node.textContent !== text) node.textContent = text; }
export function mark(node, name, value) { if (node.dataset[name] !== value) node.dataset[name] = value; }
export const words = (word) => word.replaceAll("_", " ");
export const plural = (n, one) => n + " " + one + (n === 1 ? "" : "s");
// Nearly every name begins like this, and room is scarce.
export const bare = (peer) => peer.replace(/^http:\/\//, "");
export const seconds = (duration) => parseFloat(duration);

// The daemon's clock, as far as it differs from the browser's.
let ahead = 0;
export function setClock(at) { ahead = Date.parse(at) - Date.now(); }

export function age(since) {
  const s = Math.max(0, Math.floor((Date.now() + ahead - Date.parse(since)) / 1000));
  if (!Number.isFinite(s)) return "–";
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min";
  if (s < 172800) return Math.floor(s / 3600) + " h";
  return Math.floor(s / 86400) + " d";
}
export function time(at) { return new Date(at).toLocaleTimeString([], { hour12: false }); }
export function short(duration) {
  if (duration === null || duration === undefined) return "–";
  const s = seconds(duration);
  if (s < 0.001) return Math.round(s * 1e6) + " µs";
  if (s < 1) return (s * 1000).toPrecision(3).replace(/\.0+$/, "") + " ms";
  return s < 60 ? s.toFixed(1) + " s" : Math.floor(s / 60) + " min";
}
export function measured(state) {
  const paths = state.verdict === "dead" ? [] : state.paths;
  const srtts = paths.map((path) => path.srtt).filter((srtt) => srtt !== null).map(seconds);
  return {
    srtt: srtts.length ? Math.max(...srtts) : null,
    loss: paths.length ? Math.max(...paths.map((path) => path.loss || 0)) : null,
  };
}
export const flowsOf = (state) => state.paths.reduce((sum, path) => sum + path.flows, 0);
export function breakerText(state) {
  const would = state.would_be_breaker;
  const differs = would !== state.breaker && would !== "unspecified";
  return words(state.breaker) + (differs ? " (would be " + words(would) + ")" : "");
}

// What an administrator holds the breaker at, until when, by whom and why; null if nobody does.
export function heldText(state) {
  const held = state.override;
  if (!held) return null;
  const kind = { maintenance: "in maintenance", open: "held open", closed: "held closed" }[held.kind] || "overridden";
  const until = new Date(held.until), today = new Date().toDateString() === until.toDateString();
  return kind + " until " + (today ? time(held.until) : until.toLocaleString()) + " by user " + held.uid + (held.reason ? " (" + held.reason + ")" : "");
}

// A line over the last ten minutes, scaled to its own highest value; gaps where nothing is known.
function line(values, least) {
  const top = Math.max(least, ...values);
  let path = "", pen = "M";
  values.forEach((value, index) => {
    if (value === null) { pen = "M"; return; }
    path += pen + index + " " + (15 - (13 * value) / top).toFixed(1);
    pen = "L";
  });
  return path;
}
export function sparkline() {
  const box = element("div", "spark"), value = element("span");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 59 16");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.append(path);
  box.append(value, svg);
  return { box, value, path };
}
export function draw(spark, text, values, least) {
  put(spark.value, text);
  const d = line(values, least);
  if (spark.path.getAttribute("d") !== d) spark.path.setAttribute("d", d);
}
