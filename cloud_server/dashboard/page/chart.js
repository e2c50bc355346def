// A line chart over time: uPlot, with a legend of our own that follows the cursor and is text.

import { h, put, say } from "./dom.js";
import { time, UNKNOWN } from "./format.js";

const FONT = "11px Inter, system-ui, sans-serif";
const colours = new Map();
const charts = new Set();
const probe = h("span", { hidden: true });
document.body.append(probe);

/** A colour of the style sheet, as the canvas needs it. */
function colour(name) {
  if (!colours.has(name)) {
    probe.style.color = `var(--${name})`;
    colours.set(name, getComputedStyle(probe).color);
  }
  return colours.get(name);
}

const faint = (name, share) => colour(name).replace("rgb(", "rgba(").replace(")", `, ${share})`);

/** After the colours have changed. */
export function recolour() {
  colours.clear();
  for (const chart of charts) chart.redraw();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);

export class Chart {
  #plot = null;
  #lines;
  #options;
  #data = [[]];
  #canvas = h("div", { class: "plot" });
  #none = h("p", { class: "none", hidden: true });
  #when = h("span", { class: "when" });
  #values;
  #watch;

  /**
   * `lines`: `{name, colour, dashed, fill, below}` each, `below` the index of a line that a band reaches down to.
   * `options`: `title`, `format` of a value, `log` for a logarithmic axis, `share` for one that ends at 1, `most` that
   * the axis shows at least.
   */
  constructor(lines, options) {
    [this.#lines, this.#options] = [lines, options];
    this.#values = lines.map(() => h("b", {}, UNKNOWN));
    const legend = lines.map(({ name, colour: ink, dashed }, index) =>
      h(
        "span",
        { class: ink },
        h("i", { class: dashed ? "dashed" : null }),
        h("span", { class: "quiet" }, `${name} `),
        this.#values[index],
      ),
    );
    const keys = h("div", { class: "legend" }, ...legend, this.#when);
    this.element = h("figure", { class: "chart" }, keys, this.#canvas, this.#none);
    this.#watch = new ResizeObserver(() => this.#resize());
    this.#watch.observe(this.#canvas);
    charts.add(this);
  }

  /** `at`: seconds since 1970; `series`: as many values for each line. */
  update(at, series, nothing) {
    this.#data = [at, ...series];
    const empty = !series.some((values) => values.some((value) => value !== null));
    this.#none.hidden = !empty;
    say(this.#none, nothing);
    if (!this.#plot && at.length) this.#draw();
    else this.#plot?.setData(this.#data);
    this.#tell(this.#plot?.cursor.idx);
  }

  redraw() {
    this.#plot?.redraw(false);
  }

  remove() {
    charts.delete(this);
    this.#watch.disconnect();
    this.#plot?.destroy();
  }

  #resize() {
    const [width, height] = [this.#canvas.clientWidth, this.#canvas.clientHeight];
    if (this.#plot && width) this.#plot.setSize({ width, height });
  }

  /** What the lines were at a slot; without one, at the newest that knows. */
  #tell(index) {
    const [at, ...series] = this.#data;
    const shown = index ?? at.findLastIndex((_, slot) => series.some((values) => values[slot] !== null));
    say(this.#when, index === null || index === undefined || !at[index] ? "" : time(at[index]));
    const texts = series.map((values) => this.#options.format(values[shown]));
    texts.forEach((text, line) => say(this.#values[line], text));
    put(this.#canvas, "role", "img");
    const newest = this.#lines.map(({ name }, line) => `${name} ${texts[line]}`).join(", ");
    if (index === null || index === undefined)
      put(this.#canvas, "aria-label", `${this.#options.title} over time. Newest: ${newest}`);
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    this.#plot = new uPlot({ width, height, ...this.#setup() }, this.#data, this.#canvas);
  }

  #setup() {
    const { format } = this.#options;
    const filter = this.#options.log ? decades : (_, values) => values;
    const axis = { stroke: () => colour("quiet"), font: FONT, ticks: { show: false } };
    return {
      padding: [8, 16, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: "tidegate" }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
      hooks: { setCursor: [(plot) => this.#tell(plot.cursor.idx)] },
      scales: {
        x: { time: true },
        y: scale(this.#options),
      },
      axes: [
        {
          ...axis,
          size: 20,
          gap: 4,
          space: 80,
          grid: { show: false },
          values: (_, moments) => moments.map(label),
        },
        {
          ...axis,
          size: 56,
          gap: 6,
          space: 26,
          filter,
          grid: { stroke: () => colour("line"), width: 1, filter },
          values: (_, values) => values.map((value) => (value === null ? "" : format(value))),
        },
      ],
      series: [{}, ...this.#lines.map(stroke)],
      bands: this.#lines.flatMap(({ below, colour: ink }, index) =>
        below === undefined ? [] : [{ series: [index + 1, below + 1], fill: () => faint(ink, 0.14) }],
      ),
    };
  }
}

function scale({ log, share, most = 0 }) {
  if (log) return { distr: 3 };
  if (share) return { range: (_, lowest) => [Math.max(0, Math.min(0.9, 2 * (lowest ?? 1) - 1)), 1] };
  return { range: (_, __, highest) => [0, Math.max(most, (highest ?? 0) * 1.08) || 1] };
}

/** Of the values beside a logarithmic axis, whole powers of ten. */
const decades = (_, values) => values.map((value) => (Math.abs(Math.log10(value) % 1) < 1e-9 ? value : null));

function stroke({ colour: ink, dashed, fill, below }) {
  return {
    stroke: () => colour(ink),
    width: dashed || below !== undefined ? 1.25 : 2,
    dash: dashed ? [5, 4] : undefined,
    fill: fill ? () => faint(ink, 0.14) : undefined,
    points: { show: false },
  };
}

const label = (moment) => time(moment).slice(0, 5);
