// The panel of one peer: what `detector explain` says of it, and its timeline.
import { age, breakerText, element, flowsOf, heldText, plural, short, time, words } from "./text.js";

function facts(pairs) {
  const list = element("dl");
  for (const [name, value] of pairs) list.append(element("dt", "", name), element("dd", "", value));
  return list;
}
function rows(head, lines) {
  const table = element("table"), body = element("tbody");
  if (head) {
    const row = element("tr");
    row.append(...head.map((text) => element("th", "", text)));
    table.append(row);
  }
  for (const cells of lines) {
    const row = element("tr");
    row.append(...cells.map(([text, className]) => element("td", className || "", text)));
    body.append(row);
  }
  table.append(body);
  return table;
}
function clauses(all) {
  const parts = [];
  for (const address of new Set(all.map((clause) => clause.address))) {
    const of = all.filter((clause) => clause.address === address);
    const holding = of.filter((clause) => clause.holds).length;
    parts.push(element("h3", "", (address || "It") + " is dead when every clause holds; " + holding + " of " + of.length + " do"));
    parts.push(rows(null, of.map((clause) => [
      [clause.holds ? "✓" : "·", clause.holds ? "holds yes" : "holds"], [words(clause.name)], [clause.measured], [clause.needed, "quiet"]])));
  }
  return parts;
}
export function detail({ explanation, history }, entry) {
  const { peer, silence, destroyed } = explanation;
  const verdict = element("p", "mark", peer.verdict + " (" + words(peer.reason) + ")");
  verdict.dataset.hue = peer.verdict;
  const known = [["since", new Date(peer.changed_at).toLocaleString() + ", " + age(peer.changed_at)],
    ["breaker", breakerText(peer) + " (" + words(peer.breaker_reason) + "), mode " + peer.mode],
    ["heard", peer.last_heard_age === null ? "never" : short(peer.last_heard_age) + " ago"],
    ["addresses", peer.addresses.join(", ") || "unresolved"],
    ["flows", flowsOf(peer) + ", stalled: " + peer.stalled_flows]];
  const held = heldText(peer);
  if (held) known.splice(2, 0, ["override", held]);
  if (silence) {
    known.push(["silence", short(silence.duration) + "; dead from " + short(silence.detection_time)]);
    known.push(["unanswered", silence.unanswered_transmissions + (silence.counts_moments ? " moments" : " transmissions") + "; dead from " + silence.required_transmissions]);
  }
  if (destroyed) known.push(["destroyed", plural(destroyed.destroyed, "socket") + " (" + destroyed.spared + " spared, " + destroyed.gone + " gone before, " + destroyed.failed + " failed)"]);
  const parts = [verdict, element("p", "", explanation.summary)];
  const wrong = entry ? [...entry.wrong, entry.advice].filter((text) => text && text !== words(peer.reason)) : [];
  parts.push(...wrong.map((text) => element("p", "advice", text)));
  parts.push(facts(known), ...clauses(explanation.clauses));
  if (peer.paths.length > 1) {
    parts.push(element("h3", "", "Addresses"), rows(["Address", "Verdict", "Breaker", "Reason"], peer.paths.map((path) =>
      [[path.address], [path.verdict], [words(path.breaker)], [words(path.reason)]])));
  }
  const past = [...(history ? history.transitions : [])].reverse();
  parts.push(element("h3", "", "Timeline"), past.length ? rows(null, past.map((one) =>
    [[time(one.at), "when"], [words(one.from) + " → " + words(one.to)], [words(one.reason)], ["breaker " + words(one.breaker), "quiet"]])) : element("p", "quiet", "No change yet."));
  parts.push(element("p", "quiet", "Each connection, probe and event: detector explain " + peer.peer + " on the node."));
  return parts;
}
