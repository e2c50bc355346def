// Edge alone, hybrid and cloud alone, side by side; over time by who answered.

import { Chart } from "./chart.js";
import { h, say } from "./dom.js";
import { latency, text, UNKNOWN } from "./format.js";
import { card, known } from "./parts.js";
import { decades, Range } from "./shapes.js";

export function latencyCard() {
  const meaning = h("p", { class: "meaning" });
  const tiers = [
    ["edge_only", "edge", "Edge alone", "measured"],
    ["hybrid", "hybrid", "Hybrid", "as it is"],
    ["cloud_only", "cloud", "Cloud alone", "by audits"],
  ].map(tier);
  const head = h(
    "tr",
    {},
    h("th", { scope: "col" }, h("span", { class: "unseen" }, "Who answers")),
    h("th", { scope: "col" }, "p50"),
    h("th", { scope: "col" }, "p99"),
    h("th", { scope: "col", class: "spread" }, h("span", { class: "unseen" }, "Range")),
  );
  const table = h(
    "table",
    { class: "tiers" },
    h("thead", {}, head),
    h("tbody", {}, ...tiers.map((each) => each.element)),
  );
  const chart = new Chart(
    [
      { name: "Edge p50", colour: "edge" },
      { name: "p99", colour: "edge", below: 0 },
      { name: "Cloud p50", colour: "cloud" },
      { name: "p99", colour: "cloud", below: 2 },
    ],
    { title: "Latency", format: (value) => text(latency(value)), log: true },
  );
  return {
    element: card(
      "Latency",
      { wide: true },
      h("div", { class: "split" }, h("div", {}, meaning, table), h("div", {}, chart.element)),
    ),
    update({ charts }, nothing) {
      const { edge_over_time: edge, cloud_over_time: cloud, hybrid } = charts;
      const scale = decades(tiers.flatMap(({ of }) => [charts[of].p50, charts[of].p99]));
      tiers.forEach((each) => each.update(charts[each.of], scale));
      say(
        meaning,
        known(hybrid.p50)
          ? `Of all answers, half take ${text(latency(hybrid.p50))} or less, one in a hundred more than ${text(latency(hybrid.p99))}.`
          : "",
      );
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
    element: h(
      "tr",
      {},
      h("th", { scope: "row", class: colour }, name, h("small", { class: "what" }, what)),
      p50.element,
      p99.element,
      h("td", { class: "spread" }, range.element),
    ),
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
