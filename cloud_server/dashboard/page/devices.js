// The table of devices: searched, ordered and paged by the server, so that ten thousand are as quick as ten.

import { h, put, say } from "./dom.js";
import { ago, count, latency, percent, plural, span, text, UNKNOWN } from "./format.js";
import { deviceHref } from "./route.js";
import { GROUNDS, STATES } from "./words.js";

const SHOWN = [
  ["all", "All"],
  ["attention", "Attention"],
  ["online", "Online"],
  ["silent", "Silent"],
  ["offline", "Offline"],
];
const COLUMNS = [
  ["device", "Device", ""],
  ["seen", "Last seen", "low"],
  ["model", "Model", "low"],
  ["offload", "Offload", "n"],
  ["p99", "p99", "n low"],
  ["outbox", "Outbox", "n low"],
  ["attention", "Attention", ""],
];
const TEXTS = new Set(["device", "model"]);
const SETTLE = 200;

export class DeviceTable {
  #query = { search: "", show: "all", order: "attention", down: true, page: 0 };
  #rows = new Map();
  #body = h("tbody");
  #nobody = h("p", { class: "nobody", hidden: true });
  #heads = new Map();
  #chips = new Map();
  #where = h("p", { role: "status" });
  #back = this.#turn("Previous", -1);
  #on = this.#turn("Next", 1);
  #changed;

  /** `changed()`: other rows are wanted. */
  constructor(changed) {
    this.#changed = changed;
    const head = h("tr", {}, ...COLUMNS.map((column) => this.#head(...column)));
    const table = h(
      "table",
      { class: "rows" },
      h("caption", { class: "unseen" }, "Devices"),
      h("thead", {}, head),
      this.#body,
    );
    const pages = h(
      "nav",
      { class: "pages", "aria-label": "Pages of devices" },
      this.#where,
      this.#back,
      this.#on,
    );
    this.element = h(
      "section",
      { class: "devices", "aria-labelledby": "devices" },
      this.#controls(),
      table,
      this.#nobody,
      pages,
    );
    this.#mark();
  }

  /** What to ask the server for. */
  get path() {
    return `api/devices?${new URLSearchParams(this.#query)}`;
  }

  update(table, states) {
    this.#query.page = table.page;
    const amounts = { all: table.total, attention: table.attention, ...states };
    for (const [name, chip] of this.#chips) say(chip, count(amounts[name])[0]);
    this.#fill(table);
    this.#nobody.hidden = table.matching > 0;
    say(
      this.#nobody,
      this.#query.search ? `No device matches “${this.#query.search}”.` : "No such device: good.",
    );
    say(
      this.#where,
      table.matching ? `${plural(table.matching, "device")}, page ${table.page + 1} of ${table.pages}` : "",
    );
    this.#back.disabled = table.page === 0;
    this.#on.disabled = table.page + 1 >= table.pages;
  }

  #controls() {
    const search = h("input", {
      type: "search",
      placeholder: "Site, name, model or trouble",
      "aria-label": "Search devices",
      autocomplete: "off",
      spellcheck: "false",
    });
    let timer;
    search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.#ask({ search: search.value.slice(0, 200), page: 0 }), SETTLE);
    });
    const chips = SHOWN.map(([name, word]) => {
      const amount = h("b");
      this.#chips.set(name, amount);
      const radio = h("input", {
        type: "radio",
        name: "show",
        value: name,
        checked: name === "all",
        onchange: () => this.#ask({ show: name, page: 0 }),
      });
      return h("label", {}, radio, h("span", {}, `${word} `, amount));
    });
    return h(
      "div",
      { class: "controls" },
      h("h2", { id: "devices" }, "Devices"),
      h("fieldset", { class: "segments" }, h("legend", { class: "unseen" }, "Which devices"), ...chips),
      search,
    );
  }

  #head(order, name, look) {
    const head = h(
      "th",
      { scope: "col", class: look },
      h("button", { type: "button", onclick: () => this.#sort(order) }, name),
    );
    this.#heads.set(order, head);
    return head;
  }

  #sort(order) {
    const again = this.#query.order === order;
    this.#ask({ order, down: again ? !this.#query.down : !TEXTS.has(order), page: 0 });
  }

  #turn(word, by) {
    return h(
      "button",
      { class: "button", type: "button", onclick: () => this.#ask({ page: this.#query.page + by }) },
      word,
    );
  }

  #ask(change) {
    Object.assign(this.#query, change);
    this.#mark();
    this.#changed();
  }

  #mark() {
    for (const [order, head] of this.#heads) {
      put(
        head,
        "aria-sort",
        order !== this.#query.order ? null : this.#query.down ? "descending" : "ascending",
      );
    }
  }

  /** Rows that stay are changed and not made anew: focus and selection stay, too. */
  #fill({ rows, now }) {
    const kept = new Map();
    rows.forEach((device, index) => {
      const key = `${device.site}/${device.node}`;
      const row = this.#rows.get(key) ?? new Row(device);
      kept.set(key, row);
      row.update(device, now);
      if (this.#body.children[index] !== row.element)
        this.#body.insertBefore(row.element, this.#body.children[index] ?? null);
    });
    this.#rows = kept;
    while (this.#body.children.length > rows.length) this.#body.lastChild.remove();
  }
}

class Row {
  #state = h("span", { class: "state" });
  #beneath = h("div", { class: "beneath" });
  #cells = Object.fromEntries(COLUMNS.map(([name, , look]) => [name, h("td", { class: look || null })]));
  #tags = "";

  constructor(device) {
    const name = h(
      "a",
      { href: deviceHref(device) },
      h("span", { class: "quiet" }, `${device.site}/`),
      device.node,
    );
    this.#cells.device.append(name, this.#beneath);
    this.#cells.seen.append(this.#state);
    put(this.#cells.attention, "class", "wrap");
    this.element = h("tr", {}, ...Object.values(this.#cells));
  }

  update(device, now) {
    const seen =
      device.state === "online"
        ? ago(now - device.last_seen)
        : `${STATES[device.state]}, ${ago(now - device.last_seen)}`;
    put(this.#state, "data-state", device.state);
    say(this.#state, seen);
    say(this.#beneath, `${STATES[device.state]} · ${ago(now - device.last_seen)}`);
    say(this.#cells.model, [device.model, device.precision].filter(Boolean).join(" · ") || UNKNOWN);
    say(this.#cells.offload, text(percent(device.offload)));
    say(this.#cells.p99, text(latency(device.p99)));
    say(
      this.#cells.outbox,
      device.queued > 0
        ? `${text(count(device.queued))} · ${text(span(device.queued_age))}`
        : text(count(device.queued)),
    );
    this.#tag(device);
  }

  #tag({ alerts, ground }) {
    const tags = alerts.map(({ severity, title, id }) => [
      severity,
      id === "promise" ? `Promise: ${(GROUNDS[ground] ?? [ground])[0].toLowerCase()}` : title,
    ]);
    const key = JSON.stringify(tags);
    if (key === this.#tags) return;
    this.#tags = key;
    this.#cells.attention.replaceChildren(
      ...tags.map(([severity, title]) => h("span", { class: `tag ${severity}` }, title)),
    );
  }
}
