// The whole fleet: how many devices, six cards, the table.

import { cards } from "./cards.js";
import { DeviceTable } from "./devices.js";
import { h, say } from "./dom.js";
import { count, plural } from "./format.js";
import { trim } from "./trim.js";
import { STATES } from "./words.js";

export class FleetView {
  title = "Fleet";
  #cards = cards();
  #summary = h("p", { class: "quiet" });
  #states = Object.keys(STATES).map((state) => [
    state,
    h("span", { class: "state", "data-state": state, hidden: true }),
  ]);
  #body = h("div");
  #empty = emptyFleet();
  #table;

  constructor(changed) {
    this.#table = new DeviceTable(changed);
    const head = h(
      "div",
      { class: "title" },
      h("h1", {}, "Fleet"),
      this.#summary,
      ...this.#states.map(([, element]) => element),
    );
    this.#body.append(
      head,
      h("div", { class: "grid" }, ...this.#cards.map((card) => card.element)),
      this.#table.element,
    );
    this.element = h("div", {}, this.#body, this.#empty.element);
    this.#empty.element.hidden = true;
  }

  paths(range) {
    return [`api/overview?range=${range}`, this.#table.path];
  }

  update([overview, table], range) {
    const { states } = overview;
    const shown = { ...overview, charts: { ...trim(overview.charts), range } };
    const total = Object.values(states).reduce((sum, value) => sum + value, 0);
    this.#body.hidden = total === 0;
    this.#empty.element.hidden = total > 0;
    this.#empty.update(overview);
    if (!total) return;
    say(this.#summary, plural(total, "device"));
    for (const [state, element] of this.#states) {
      element.hidden = !states[state];
      say(element, `${count(states[state])[0]} ${STATES[state].toLowerCase()}`);
    }
    for (const card of this.#cards)
      card.update(shown, shown.charts.samples ? "Nothing known" : "The first figures come within a minute");
    this.#table.update(table, states);
  }

  remove() {
    for (const card of this.#cards) card.remove();
  }
}

/** What to do when nobody has spoken yet. */
function emptyFleet() {
  const example = h("code");
  const element = h(
    "section",
    { class: "empty" },
    h("h1", {}, "No device has spoken yet"),
    h(
      "p",
      {},
      "This page shows every device that publishes to the broker. Give a node these lines and start it; it appears here within seconds:",
    ),
    h("pre", { tabindex: 0, "aria-label": "Settings of a node" }, example),
    h("p", {}, "Figures follow with the second snapshot of its metrics, half a minute later."),
  );
  return {
    element,
    update({ broker }) {
      const [, host, port] = /^(.*):(\d+)$/.exec(broker) ?? ["", broker, "1883"];
      say(
        example,
        `[node]\nsite = "lab"\nname = "node-1"\n\n[mqtt]\nhost = ${JSON.stringify(host)}\nport = ${port}`,
      );
    },
  };
}
