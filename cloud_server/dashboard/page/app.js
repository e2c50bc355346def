// Ties it together: which view, how far back, live or paused, light or dark.

import { recolour } from "./chart.js";
import { DeviceView } from "./device.js";
import { h, put, say } from "./dom.js";
import { FleetView } from "./fleet.js";
import { time } from "./format.js";
import { EVERY, Live } from "./live.js";
import { route } from "./route.js";
import { RANGES } from "./words.js";

const find = (id) => document.getElementById(id);
const [main, notice, pulse, pulseText, path] = ["main", "notice", "pulse", "pulse-text", "path"].map(find);
const dark = matchMedia("(prefers-color-scheme: dark)");

let range = RANGES.some(([seconds]) => seconds === Number(localStorage.getItem("range")))
  ? Number(localStorage.getItem("range"))
  : 3600;
let view = null;
let asOf = null;
let broker = null;

const live = new Live(() => view.paths(range), show, tell);

function show(answers) {
  const [first] = answers;
  if (first) [asOf, broker] = [first.now, first.hearing ? null : first.broker];
  view.update(answers, range);
  put(main, "aria-busy", null);
}

const WORDS = {
  loading: () => "Loading",
  live: () => "Live",
  paused: () => `Paused at ${time(asOf ?? Date.now() / 1000)}`,
  stale: () => `${Math.round(live.age / 1000)} s old`,
  disconnected: () => "Disconnected",
};

function tell(state) {
  put(pulse, "data-state", state);
  put(main, "data-state", state);
  say(pulseText, WORDS[state]());
  const words = wrong(state);
  put(notice, "data-state", state);
  if (notice.hidden !== !words) notice.hidden = !words;
  say(notice, words);
}

/** What a person should know before believing a figure; empty if there is nothing. */
function wrong(state) {
  if (state === "disconnected") {
    const since = asOf ? ` What you see is from ${time(asOf)}.` : "";
    return `The server does not answer.${since} Trying again every ${EVERY / 1000} seconds.`;
  }
  if (broker)
    return `The server has no connection to the broker ${broker}: nothing new comes from the devices, which keep their results meanwhile.`;
  return state === "stale" ? "The server is slow to answer. What you see is old." : "";
}

function open() {
  const device = route();
  view?.remove();
  view = device ? new DeviceView(device) : new FleetView(() => live.ask());
  document.title = `${view.title} · Tidegate`;
  put(main, "aria-busy", true);
  main.replaceChildren(view.element);
  path.replaceChildren(...(device ? crumbs(device) : []));
  live.ask();
}

const crumbs = ({ site, node }) => [
  h("a", { href: "#/" }, "Fleet"),
  h("span", { "aria-hidden": "true" }, "/"),
  h("span", {}, `${site}/${node}`),
];

function chooseRange(seconds) {
  range = seconds;
  localStorage.setItem("range", seconds);
  live.ask();
}

find("ranges").append(
  ...RANGES.map(([seconds, name]) =>
    h(
      "label",
      {},
      h("input", {
        type: "radio",
        name: "range",
        checked: seconds === range,
        onchange: () => chooseRange(seconds),
      }),
      h("span", {}, name),
    ),
  ),
);

find("pause").addEventListener("click", ({ currentTarget: button }) => {
  live.pause(!live.paused);
  put(button, "aria-pressed", String(live.paused));
  say(button, live.paused ? "Resume" : "Pause");
});

const isDark = () => (document.documentElement.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
const markTheme = () => put(find("theme"), "aria-pressed", String(isDark()));

find("theme").addEventListener("click", () => {
  const wanted = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = wanted;
  localStorage.setItem("theme", wanted);
  markTheme();
  recolour();
});
dark.addEventListener("change", markTheme);
markTheme();

addEventListener("hashchange", () => {
  open();
  main.focus();
});
open();
