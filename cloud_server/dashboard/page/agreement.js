// Whether kept answers are what the cloud would have said, and what the certificates promise of that.

import { Chart } from "./chart.js";
import { h, put, say } from "./dom.js";
import { count, digits, percent, plural, UNKNOWN } from "./format.js";
import { card, Figure, known, pairs, PERCENT } from "./parts.js";
import { Stack } from "./shapes.js";
import { GROUNDS } from "./words.js";

export function agreementCard() {
  const [figure, meaning, badge, stack] = [
    new Figure(),
    h("p", { class: "meaning" }),
    h("span", { class: "tag" }),
    new Stack(),
  ];
  const facts = pairs(["Accuracy lost at most (ε)", "Wrong with probability (δ)", "Bound as things are now"]);
  const why = h("p", { class: "quiet" });
  const chart = new Chart([{ name: "Agreement of kept answers", colour: "edge" }], {
    title: "Agreement",
    format: PERCENT,
    share: true,
  });
  return {
    element: card(
      "Agreement",
      { wide: true, aside: badge },
      h(
        "div",
        { class: "split" },
        h("div", {}, figure.element, meaning, facts.element, stack.element, why),
        h("div", {}, chart.element),
      ),
    ),
    update({ charts, promise, device }, nothing) {
      figure.update(percent(promise.agreement));
      say(meaning, agreed(promise));
      facts.update([points(promise.epsilon), PERCENT(promise.delta), points(promise.risk)]);
      const { name, look, reason } = standing(promise.grounds);
      say(badge, name);
      put(badge, "class", `tag ${look}`);
      say(why, device ? reason : "");
      stack.update(device ? [] : grounds(promise.grounds));
      chart.update(
        charts.at,
        [charts.disagreement.map((value) => (value === null ? null : 1 - value))],
        nothing,
      );
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
    .map(([ground, devices]) => ({
      share: devices / total,
      name: (GROUNDS[ground] ?? [ground])[0],
      colour: looks[ground] ?? "wrong",
      text: count(devices)[0],
    }));
}
