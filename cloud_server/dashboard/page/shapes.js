// Small pictures of few numbers: a range on a common scale, bars, a stack.

import { h, put, say, svg } from "./dom.js";

/** From half of all (dot) to one in a hundred (ring), on a logarithmic scale that all ranges share. */
export class Range {
  #line = svg("line", { y1: "50%", y2: "50%", stroke: "currentColor", "stroke-width": 2 });
  #half = svg("circle", { cy: "50%", r: 5, fill: "currentColor" });
  #rare = svg("circle", {
    cy: "50%",
    r: 4.5,
    fill: "var(--surface)",
    stroke: "currentColor",
    "stroke-width": 2,
  });

  constructor(colour) {
    this.element = svg(
      "svg",
      { class: `range ${colour}`, "aria-hidden": "true" },
      this.#line,
      this.#rare,
      this.#half,
    );
    this.element.style.visibility = "hidden";
  }

  /** Seconds, on a scale from `least` to `most` seconds. */
  update(p50, p99, [least, most]) {
    this.element.style.visibility = p50 && p99 ? "visible" : "hidden";
    if (!p50 || !p99) return;
    const [from, to] = [p50, p99].map(
      (value) => `${(100 * Math.log(value / least)) / Math.log(most / least)}%`,
    );
    for (const [shape, name, value] of [
      [this.#line, "x1", from],
      [this.#line, "x2", to],
      [this.#half, "cx", from],
      [this.#rare, "cx", to],
    ])
      put(shape, name, value);
  }
}

/** The decades that hold all these seconds. */
export function decades(values) {
  const known = values.filter((value) => value > 0);
  if (!known.length) return [1e-3, 1];
  return [
    10 ** Math.floor(Math.log10(Math.min(...known) * 0.9)),
    10 ** Math.ceil(Math.log10(Math.max(...known) * 1.1)),
  ];
}

/** Named amounts as bars, of the largest. */
export class Bars {
  #rows;

  constructor(names) {
    this.#rows = names.map(([name, colour]) => {
      const [value, bar] = [h("span"), h("div", { class: "bar-part" })];
      bar.style.width = "0";
      const element = h(
        "li",
        {},
        h("div", {}, h("span", { class: "quiet" }, name), value),
        h("div", { class: `track ${colour}` }, bar),
      );
      return { element, value, bar };
    });
    this.element = h("ul", { class: "bars" }, ...this.#rows.map((row) => row.element));
  }

  /** `[amount, text]` for each name. */
  update(amounts) {
    const most = Math.max(...amounts.map(([amount]) => amount ?? 0)) || 1;
    amounts.forEach(([amount, text], index) => {
      say(this.#rows[index].value, text);
      this.#rows[index].bar.style.width = `${(100 * (amount ?? 0)) / most}%`;
    });
  }
}

/** Shares of a whole, and their names beneath. */
export class Stack {
  #bar = h("div", { class: "stack", "aria-hidden": "true" });
  #keys = h("ul", { class: "keys" });
  element = h("div", {}, this.#bar, this.#keys);

  /** `{share, name, colour, text}` each. */
  update(parts) {
    this.element.hidden = !parts.length;
    fit(this.#bar, parts.length, () => h("div", { class: "bar-part" }));
    fit(this.#keys, parts.length, () =>
      h("li", {}, h("i", { "aria-hidden": "true" }), h("span"), h("b", { class: "amount" })),
    );
    parts.forEach(({ share, name, colour, text }, index) => {
      const [piece, key] = [this.#bar.children[index], this.#keys.children[index]];
      piece.style.flex = String(share);
      piece.style.color = key.firstChild.style.color = `var(--${colour})`;
      say(key.children[1], name);
      say(key.children[2], text);
    });
  }
}

/** Give an element so many children. */
export function fit(parent, count, make) {
  while (parent.children.length > count) parent.lastChild.remove();
  while (parent.children.length < count) parent.append(make());
}
