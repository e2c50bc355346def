// The six cards, of the fleet or of one device. Each is `{element, update(view, nothing), remove()}`.

import { Chart } from "./chart.js";
import { h, put, say } from "./dom.js";
import { bytes, count, digits, latency, percent, plural, span, text, UNKNOWN } from "./format.js";
import { Bars, decades, Range, Stack } from "./shapes.js";
import { GROUNDS, RANGE_WORDS, REASONS } from "./words.js";

const PERCENT = (value) => text(percent(value));
const known = (value) => value !== null && value !== undefined;

export const cards = () => [latencyCard(), bytesCard(), offloadCard(), agreementCard(), answersCard(), outboxCard()];

/** Number and unit, large. */
class Figure {
  #number = h("span", { class: "number" }, UNKNOWN);
  #unit = h("span", { class: "unit" });
  element = h("p", { class: "figure" }, this.#number, this.#unit);

  update([number, unit]) {
    say(this.#number, number);
    say(this.#unit, unit);
  }
}

function card(title, { wide, aside }, ...children) {
  const id = `card-${title.toLowerCase()}`;
  const head = h("header", {}, h("h2", { id }, title), aside);
  return h("section", { class: wide ? "card wide" : "card", "aria-labelledby": id }, head, ...children);
}

function latencyCard() {
  const meaning = h("p", { class: "meaning" });
  const tiers = [["edge_only", "edge", "Edge alone", "measured"], ["hybrid", "hybrid", "Hybrid", "as it is"], ["cloud_only", "cloud", "Cloud alone", "by audits"]].map(tier);
  const head = h("tr", {}, h("th", { scope: "col" }, h("span", { class: "unseen" }, "Who answers")), h("th", { scope: "col" }, "p50"), h("th", { scope: "col" }, "p99"), h("th", { scope: "col", class: "spread" }, h("span", { class: "unseen" }, "Range")));
  const table = h("table", { class: "tiers" }, h("thead", {}, head), h("tbody", {}, ...tiers.map((each) => each.element)));
  const chart = new Chart(
    [
      { name: "Edge p50", colour: "edge" }, { name: "p99", colour: "edge", below: 0 },
      { name: "Cloud p50", colour: "cloud" }, { name: "p99", colour: "cloud", below: 2 },
    ],
    { title: "Latency", format: (value) => text(latency(value)), log: true },
  );
  return {
    element: card("Latency", { wide: true }, h("div", { class: "split" }, h("div", {}, meaning, table), h("div", {}, chart.element))),
    update({ charts }, nothing) {
      const { edge_over_time: edge, cloud_over_time: cloud, hybrid } = charts;
      const scale = decades(tiers.flatMap(({ of }) => [charts[of].p50, charts[of].p99]));
      tiers.forEach((each) => each.update(charts[each.of], scale));
      say(meaning, known(hybrid.p50) ? `Of all answers, half take ${text(latency(hybrid.p50))} or less, one in a hundred more than ${text(latency(hybrid.p99))}.` : "");
      chart.update(charts.at, [edge.p50, edge.p99, cloud.p50, cloud.p99], nothing);
    },
    remove: () => chart.remove(),
  };
}

function tier([of, colour, name, what]) {
  const [p50, p99] = [seconds(), seconds()];
  const range = new Range(colour);
  return {
    of,
    element: h("tr", {}, h("th", { scope: "row", class: colour }, name, h("small", { class: "what" }, what)), p50.element, p99.element, h("td", { class: "spread" }, range.element)),
    update(quantiles, scale) {
      p50.update(quantiles.p50);
      p99.update(quantiles.p99);
      range.update(quantiles.p50, quantiles.p99, scale);
    },
  };
}

function seconds() {
  const [number, unit] = [h("span", { class: "number" }, UNKNOWN), h("small")];
  return {
    element: h("td", {}, h("span", { class: "value" }, number, unit)),
    update(value) {
      const [digit, name] = latency(value);
      say(number, digit);
      say(unit, name);
    },
  };
}

function bytesCard() {
  const [figure, meaning] = [new Figure(), h("p", { class: "meaning" })];
  const bars = new Bars([["To and from the cloud", "cloud"], ["Cloud alone", "quiet"]]);
  const rate = (value) => (known(value) ? `${text(bytes(value))}/s` : UNKNOWN);
  const chart = new Chart([{ name: "Actual", colour: "cloud", fill: true }, { name: "Cloud alone", colour: "quiet", dashed: true }], { title: "Bytes a second", format: rate });
  return {
    element: card("Bytes", {}, figure.element, meaning, bars.element, chart.element),
    update({ charts: { bytes: { actual, cloud_only: all, actual_rate, cloud_only_rate }, at } }, nothing) {
      const saved = all ? 1 - actual / all : null;
      figure.update(percent(known(saved) ? Math.abs(saved) : null));
      say(meaning, !known(saved) ? "" : `${saved < 0 ? "more" : "fewer"} than if the cloud answered alone`);
      bars.update([actual, all].map((amount) => [amount, all ? text(bytes(amount)) : UNKNOWN]));
      chart.update(at, [actual_rate, cloud_only_rate], nothing);
    },
    remove: () => chart.remove(),
  };
}

function offloadCard() {
  const [figure, meaning, stack] = [new Figure(), h("p", { class: "meaning" }), new Stack()];
  const chart = new Chart([{ name: "Cloud", colour: "cloud", fill: true }], { title: "Offload rate", format: PERCENT });
  return {
    element: card("Offload", {}, figure.element, meaning, stack.element, chart.element),
    update({ charts }, nothing) {
      figure.update(percent(charts.offload));
      say(meaning, known(charts.offload) ? "of answers come from the cloud" : "");
      stack.update(reasons(charts.reasons));
      chart.update(charts.at, [charts.offload_over_time], nothing);
    },
    remove: () => chart.remove(),
  };
}

/** The two good reasons, then what went wrong, the most frequent by name. */
function reasons(counts) {
  const total = Object.values(counts).reduce((sum, value) => sum + value, 0);
  const part = (name, amount, colour) => ({ share: amount / total, name, colour, text: PERCENT(amount / total) });
  const { confident = 0, cloud = 0, ...wrong } = counts;
  const [worst, ...rest] = Object.entries(wrong).sort(([, one], [, other]) => other - one);
  const parts = total ? [part(REASONS.confident, confident, "edge"), part(REASONS.cloud, cloud, "cloud")] : [];
  if (worst) parts.push(part(REASONS[worst[0]] ?? worst[0], worst[1], "warn"));
  if (rest.length) parts.push(part(rest.length === 1 ? (REASONS[rest[0][0]] ?? rest[0][0]) : `${rest.length} other reasons`, rest.reduce((sum, [, value]) => sum + value, 0), "wrong"));
  return parts;
}

function agreementCard() {
  const [figure, meaning, badge, stack] = [new Figure(), h("p", { class: "meaning" }), h("span", { class: "tag" }), new Stack()];
  const facts = pairs(["Accuracy lost at most (ε)", "Wrong with probability (δ)", "Bound as things are now"]);
  const why = h("p", { class: "quiet" });
  const chart = new Chart([{ name: "Agreement of kept answers", colour: "edge" }], { title: "Agreement", format: PERCENT, share: true });
  return {
    element: card("Agreement", { wide: true, aside: badge }, h("div", { class: "split" }, h("div", {}, figure.element, meaning, facts.element, stack.element, why), h("div", {}, chart.element))),
    update({ charts, promise, device }, nothing) {
      figure.update(percent(promise.agreement));
      say(meaning, agreed(promise));
      facts.update([points(promise.epsilon), PERCENT(promise.delta), points(promise.risk)]);
      const { name, look, reason } = standing(promise.grounds);
      say(badge, name);
      put(badge, "class", `tag ${look}`);
      say(why, device ? reason : "");
      stack.update(device ? [] : grounds(promise.grounds));
      chart.update(charts.at, [charts.disagreement.map((value) => (value === null ? null : 1 - value))], nothing);
    },
    remove: () => chart.remove(),
  };
}

const points = (share) => (known(share) ? `${digits(100 * share)}\u202fpoints` : UNKNOWN);

function agreed({ agreement, low, high }) {
  if (!known(agreement)) return "No audit has asked the cloud about kept answers yet.";
  const interval = known(low) && known(high) ? ` 95 % interval: ${PERCENT(low)} to ${PERCENT(high)}.` : "";
  return `of kept answers are the cloud’s too, by audit.${interval}`;
}

/** The certificate in a word. */
function standing(found) {
  const total = Object.values(found).reduce((sum, value) => sum + value, 0);
  const valid = found.valid ?? 0;
  if (!total) return { name: "Certificate unknown", look: "", reason: "" };
  if (total === 1) {
    const [ground] = Object.keys(found);
    const [name, reason] = GROUNDS[ground] ?? [ground, ""];
    const look = ground === "valid" ? "good" : ground === "none" ? "" : "serious";
    return { name: ground === "none" ? name : `Certificate: ${name.toLowerCase()}`, look, reason };
  }
  const promised = total - (found.none ?? 0);
  if (!promised) return { name: "No certificates", look: "", reason: "" };
  const look = valid === promised ? "good" : valid > promised / 2 ? "warning" : "serious";
  return { name: `Certificate valid on ${count(valid)[0]} of ${plural(total, "device")}`, look, reason: "" };
}

function grounds(found) {
  const total = Object.values(found).reduce((sum, value) => sum + value, 0);
  const looks = { valid: "good", none: "strong-line" };
  return Object.entries(found)
    .slice(0, 4)
    .map(([ground, devices]) => ({ share: devices / total, name: (GROUNDS[ground] ?? [ground])[0], colour: looks[ground] ?? "wrong", text: count(devices)[0] }));
}

function pairs(names) {
  const values = names.map(() => h("dd", {}, UNKNOWN));
  const element = h("dl", { class: "pairs" }, ...names.flatMap((name, index) => [h("dt", {}, name), values[index]]));
  return { element, update: (texts) => texts.forEach((value, index) => say(values[index], value)) };
}

function answersCard() {
  const [figure, meaning] = [new Figure(), h("p", { class: "meaning" })];
  const facts = pairs(["On average", "For want of the cloud"]);
  const rate = (value) => (known(value) ? `${digits(value)}/s` : UNKNOWN);
  const chart = new Chart([{ name: "Edge", colour: "edge", fill: true }, { name: "Cloud", colour: "cloud", fill: true }], { title: "Answers a second", format: rate });
  return {
    element: card("Answers", {}, figure.element, meaning, facts.element, chart.element),
    update({ charts }, nothing) {
      const answers = Object.values(charts.reasons).reduce((sum, value) => sum + value, 0);
      const { confident = 0, cloud = 0 } = charts.reasons;
      figure.update(answers ? count(answers) : [UNKNOWN, ""]);
      say(meaning, answers ? `in the last ${RANGE_WORDS[charts.range]}` : "");
      facts.update([answers ? rate(mean([charts.edge_rate, charts.cloud_rate])) : UNKNOWN, answers ? PERCENT(1 - (confident + cloud) / answers) : UNKNOWN]);
      chart.update(charts.at, [charts.edge_rate, charts.cloud_rate], nothing);
    },
    remove: () => chart.remove(),
  };
}

/** Of the sums of several series, over the slots that are known. */
function mean(series) {
  const sums = series[0].map((_, slot) => series.reduce((sum, values) => sum + values[slot], 0)).filter((_, slot) => known(series[0][slot]));
  return sums.length ? sums.reduce((sum, value) => sum + value, 0) / sums.length : null;
}

function outboxCard() {
  const [figure, meaning] = [new Figure(), h("p", { class: "meaning" })];
  const facts = pairs(["Size", "Oldest", "Lost"]);
  const chart = new Chart([{ name: "Waiting", colour: "ink" }], { title: "Results that wait", format: (value) => text(count(value)), most: 10 });
  return {
    element: card("Outbox", {}, figure.element, meaning, facts.element, chart.element),
    update({ charts: { outbox, at } }, nothing) {
      figure.update(count(outbox.results));
      say(meaning, known(outbox.results) ? `result${outbox.results === 1 ? " waits" : "s wait"} to be confirmed` : "");
      facts.update([text(bytes(outbox.bytes)), text(span(outbox.age)), known(outbox.results) ? plural(Math.round(outbox.dropped), "result") : UNKNOWN]);
      chart.update(at, [outbox.over_time], nothing);
    },
    remove: () => chart.remove(),
  };
}
