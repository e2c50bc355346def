// One device: what is wrong, what it is, and the same six cards.

import { cards } from "./cards.js";
import { h, put, say } from "./dom.js";
import { ago, bytes, count, digits, moment, span, text, UNKNOWN } from "./format.js";
import { devicePath } from "./route.js";
import { fit } from "./shapes.js";
import { trim } from "./trim.js";
import { GROUNDS, STATES } from "./words.js";

const CIRCUIT = ["closed", "half open", "open"];

export class DeviceView {
  #key;
  #cards = cards();
  #state = h("span", { class: "state" });
  #seen = h("span", { class: "quiet" });
  #alerts = h("ul", { class: "alerts", "aria-label": "Attention" });
  #facts = facts();
  #body = h("div");
  #unknown;

  constructor(key) {
    this.#key = key;
    this.title = `${key.site}/${key.node}`;
    const head = h("div", { class: "title" }, h("h1", {}, key.node), this.#state, this.#seen);
    this.#body.append(
      head,
      this.#alerts,
      this.#facts.element,
      h("div", { class: "grid" }, ...this.#cards.map((card) => card.element)),
    );
    this.#unknown = h(
      "section",
      { class: "empty", hidden: true },
      h("h1", {}, "No such device"),
      h(
        "p",
        {},
        `Nobody has heard of ${this.title}, or it has been forgotten: a device that is silent for seven days leaves the table.`,
      ),
      h("p", {}, h("a", { href: "#/" }, "See the whole fleet")),
    );
    this.element = h("div", {}, this.#body, this.#unknown);
  }

  paths(range) {
    return [devicePath(this.#key, range)];
  }

  update([found], range) {
    this.#body.hidden = !found;
    this.#unknown.hidden = Boolean(found);
    if (!found) return;
    const { device, now } = found;
    const shown = { ...found, charts: { ...trim(found.charts), range } };
    put(this.#state, "data-state", device.state);
    say(this.#state, STATES[device.state]);
    say(this.#seen, `last seen ${ago(now - device.last_seen)}`);
    this.#warn(found);
    this.#facts.update(found);
    const nothing =
      device.state === "online" ? "The first figures come within a minute" : "Nothing in this time";
    for (const card of this.#cards) card.update(shown, shown.charts.samples ? "Nothing known" : nothing);
  }

  remove() {
    for (const card of this.#cards) card.remove();
  }

  #warn({ alerts, device }) {
    this.#alerts.hidden = !alerts.length;
    fit(this.#alerts, alerts.length, () => h("li", {}, h("span"), h("span")));
    alerts.forEach(({ id, severity, title, advice }, index) => {
      const [tag, words] = this.#alerts.children[index].children;
      put(tag, "class", `tag ${severity}`);
      say(tag, title);
      const [name, why] = (id === "promise" && GROUNDS[device.figures?.ground]) || ["", advice];
      say(words, name ? `${name}: ${why}` : why);
    });
  }
}

function facts() {
  const rows = [
    ["Site", ({ device }) => device.site],
    [
      "Model",
      ({ device: { model } }) =>
        model ? [model.name, model.version, model.precision].filter(Boolean).join(" · ") : UNKNOWN,
    ],
    ["Model's SHA-256", ({ device: { model } }) => model?.sha256.slice(0, 12) || UNKNOWN],
    [
      "Software",
      ({ device: { versions } }) =>
        versions?.tidegate ? `tidegate ${versions.tidegate}, Python ${versions.python}` : UNKNOWN,
    ],
    [
      "Gate",
      ({ device: { gate, figures } }) =>
        gate
          ? `${gate.policy}, trusts the edge from ${digits(figures?.threshold ?? gate.threshold)}`
          : UNKNOWN,
    ],
    ["Way to the cloud", ({ device: { figures } }) => CIRCUIT[figures?.circuit] ?? UNKNOWN],
    ["Up for", ({ device }) => text(span(device.uptime))],
    ["Restarts seen", ({ device }) => count(device.restarts)[0]],
    ["Memory", ({ device: { figures } }) => text(bytes(figures?.resident_bytes))],
    ["Last seen", ({ device }) => moment(device.last_seen)],
  ].map(([name, read]) => ({ name, read, value: h("dd", {}, UNKNOWN) }));
  return {
    element: h(
      "dl",
      { class: "facts" },
      ...rows.map(({ name, value }) => h("div", {}, h("dt", {}, name), value)),
    ),
    update: (found) => rows.forEach(({ read, value }) => say(value, read(found))),
  };
}
