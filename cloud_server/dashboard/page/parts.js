// What the cards are made of.

import { h, say } from "./dom.js";
import { percent, text, UNKNOWN } from "./format.js";

/** A share of 1 as text. */
export const PERCENT = (value) => text(percent(value));
export const known = (value) => value !== null && value !== undefined;

/** Number and unit, large. */
export class Figure {
  #number = h("span", { class: "number" }, UNKNOWN);
  #unit = h("span", { class: "unit" });
  element = h("p", { class: "figure" }, this.#number, this.#unit);

  update([number, unit]) {
    say(this.#number, number);
    say(this.#unit, unit);
  }
}

/** A titled part of the page; `aside` stands beside the title. */
export function card(title, { wide, aside }, ...children) {
  const id = `card-${title.toLowerCase()}`;
  const head = h("header", {}, h("h2", { id }, title), aside);
  return h("section", { class: wide ? "card wide" : "card", "aria-labelledby": id }, head, ...children);
}

/** Names, and a text for each. */
export function pairs(names) {
  const values = names.map(() => h("dd", {}, UNKNOWN));
  const element = h(
    "dl",
    { class: "pairs" },
    ...names.flatMap((name, index) => [h("dt", {}, name), values[index]]),
  );
  return { element, update: (texts) => texts.forEach((value, index) => say(values[index], value)) };
}
