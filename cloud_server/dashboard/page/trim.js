// A fleet that has run for ten minutes fills its charts, though an hour was asked for.

const LEAST = 40;

/** The charts without the slots at the beginning in which nothing is known, but for the last forty slots. */
export function trim(charts) {
  const first = charts.edge_rate.findIndex((value) => value !== null);
  const from = Math.max(0, Math.min((first < 0 ? charts.at.length : first) - 1, charts.at.length - LEAST));
  return from ? cut(charts, from) : charts;
}

function cut(part, from) {
  return Object.fromEntries(Object.entries(part).map(([name, value]) => [name, shorter(value, from)]));
}

function shorter(value, from) {
  if (Array.isArray(value)) return value.slice(from);
  return value && typeof value === "object" ? cut(value, from) : value;
}
