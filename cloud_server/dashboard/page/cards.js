// The six cards, of the fleet or of one device. Each is `{element, update(view, nothing), remove()}`.

import { agreementCard } from "./agreement.js";
import { Chart } from "./chart.js";
import { h, say } from "./dom.js";
import { bytes, count, digits, percent, plural, span, text, UNKNOWN } from "./format.js";
import { latencyCard } from "./latency.js";
import { card, Figure, known, pairs, PERCENT } from "./parts.js";
import { Bars, Stack } from "./shapes.js";
import { RANGE_WORDS, REASONS } from "./words.js";

export const cards = () => [
  latencyCard(),
  bytesCard(),
  offloadCard(),
  agreementCard(),
  answersCard(),
  outboxCard(),
];

function bytesCard() {
  const [figure, meaning] = [new Figure(), h("p", { class: "meaning" })];
  const bars = new Bars([
    ["To and from the cloud", "cloud"],
    ["Cloud alone", "quiet"],
  ]);
  const rate = (value) => (known(value) ? `${text(bytes(value))}/s` : UNKNOWN);
  const chart = new Chart(
    [
      { name: "Actual", colour: "cloud", fill: true },
      { name: "Cloud alone", colour: "quiet", dashed: true },
    ],
    { title: "Bytes a second", format: rate },
  );
  return {
    element: card("Bytes", {}, figure.element, meaning, bars.element, chart.element),
    update(
      {
        charts: {
          bytes: { actual, cloud_only: all, actual_rate, cloud_only_rate },
          at,
        },
      },
      nothing,
    ) {
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
  const chart = new Chart([{ name: "Cloud", colour: "cloud", fill: true }], {
    title: "Offload rate",
    format: PERCENT,
  });
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
  const part = (name, amount, colour) => ({
    share: amount / total,
    name,
    colour,
    text: PERCENT(amount / total),
  });
  const { confident = 0, cloud = 0, ...wrong } = counts;
  const [worst, ...rest] = Object.entries(wrong).sort(([, one], [, other]) => other - one);
  const parts = total
    ? [part(REASONS.confident, confident, "edge"), part(REASONS.cloud, cloud, "cloud")]
    : [];
  if (worst) parts.push(part(REASONS[worst[0]] ?? worst[0], worst[1], "warn"));
  if (rest.length)
    parts.push(
      part(
        rest.length === 1 ? (REASONS[rest[0][0]] ?? rest[0][0]) : `${rest.length} other reasons`,
        rest.reduce((sum, [, value]) => sum + value, 0),
        "wrong",
      ),
    );
  return parts;
}

function answersCard() {
  const [figure, meaning] = [new Figure(), h("p", { class: "meaning" })];
  const facts = pairs(["On average", "For want of the cloud"]);
  const rate = (value) => (known(value) ? `${digits(value)}/s` : UNKNOWN);
  const chart = new Chart(
    [
      { name: "Edge", colour: "edge", fill: true },
      { name: "Cloud", colour: "cloud", fill: true },
    ],
    { title: "Answers a second", format: rate },
  );
  return {
    element: card("Answers", {}, figure.element, meaning, facts.element, chart.element),
    update({ charts }, nothing) {
      const answers = Object.values(charts.reasons).reduce((sum, value) => sum + value, 0);
      const { confident = 0, cloud = 0 } = charts.reasons;
      figure.update(answers ? count(answers) : [UNKNOWN, ""]);
      say(meaning, answers ? `in the last ${RANGE_WORDS[charts.range]}` : "");
      facts.update([
        answers ? rate(mean([charts.edge_rate, charts.cloud_rate])) : UNKNOWN,
        answers ? PERCENT(1 - (confident + cloud) / answers) : UNKNOWN,
      ]);
      chart.update(charts.at, [charts.edge_rate, charts.cloud_rate], nothing);
    },
    remove: () => chart.remove(),
  };
}

/** Of the sums of several series, over the slots that are known. */
function mean(series) {
  const sums = series[0]
    .map((_, slot) => series.reduce((sum, values) => sum + values[slot], 0))
    .filter((_, slot) => known(series[0][slot]));
  return sums.length ? sums.reduce((sum, value) => sum + value, 0) / sums.length : null;
}

function outboxCard() {
  const [figure, meaning] = [new Figure(), h("p", { class: "meaning" })];
  const facts = pairs(["Size", "Oldest", "Lost"]);
  const chart = new Chart([{ name: "Waiting", colour: "ink" }], {
    title: "Results that wait",
    format: (value) => text(count(value)),
    most: 10,
  });
  return {
    element: card("Outbox", {}, figure.element, meaning, facts.element, chart.element),
    update({ charts: { outbox, at } }, nothing) {
      figure.update(count(outbox.results));
      say(
        meaning,
        known(outbox.results) ? `result${outbox.results === 1 ? " waits" : "s wait"} to be confirmed` : "",
      );
      facts.update([
        text(bytes(outbox.bytes)),
        text(span(outbox.age)),
        known(outbox.results) ? plural(Math.round(outbox.dropped), "result") : UNKNOWN,
      ]);
      chart.update(at, [outbox.over_time], nothing);
    },
    remove: () => chart.remove(),
  };
}
