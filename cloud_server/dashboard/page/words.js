// What reasons, grounds and states are called. A device may send any word: these have no prototype to find it in.

export const REASONS = {
  __proto__: null,
  confident: "Edge was sure",
  cloud: "Cloud answered",
  cloud_timeout: "Cloud was too late",
  cloud_unreachable: "Cloud was not reached",
  cloud_saturated: "Cloud was too busy",
  cloud_error: "Cloud refused",
  circuit_open: "Cloud failed too often",
  budget_exhausted: "Budget was used up",
  no_gain: "Cloud knows no better",
  edge_only: "No cloud is set up",
  deferred: "Cloud is still asked",
  invalid_sample: "Input was unreadable",
};

export const GROUNDS = {
  __proto__: null,
  valid: ["Valid", "The promise stands."],
  none: ["No certificate", "Nothing is promised. edge-node prepare certify makes a certificate."],
  mismatch: ["Other model", "The certificate is for another model, preprocessing or codec."],
  drift: ["Drift", "Audits show that the inputs are no longer what was certified."],
  labels: ["Labels disagree", "Labels show that accuracy drops by more than was certified."],
  expired: ["Expired", "The certificate is too old."],
  budget: ["Budget too small", "Too many unsure inputs have no room in the budget."],
  unserved: ["Cloud missing", "Too many unsure inputs get no answer from the cloud."],
};

export const STATES = { __proto__: null, online: "Online", silent: "Silent", offline: "Offline" };

export const RANGES = [
  [900, "15 min"],
  [3600, "1 h"],
  [21600, "6 h"],
  [86400, "24 h"],
];
export const RANGE_WORDS = { 900: "15 minutes", 3600: "hour", 21600: "6 hours", 86400: "24 hours" };
