// Asks the server again and again, one question at a time, and knows how old the answer is.

export const EVERY = 5000;
const PATIENCE = 10000;
const STALE = 2 * EVERY;

/**
 * Polls while the page is seen. `questions()` gives paths; `show(answers)` gets their JSON, in order, null for
 * a 404; `tell(state)` hears of every change: loading, live, paused, stale or disconnected.
 */
export class Live {
  #questions;
  #show;
  #tell;
  #timer = 0;
  #asking = null;
  #paused = false;
  #failed = false;
  #at = 0;

  constructor(questions, show, tell) {
    [this.#questions, this.#show, this.#tell] = [questions, show, tell];
    document.addEventListener("visibilitychange", () => this.#next(0));
    setInterval(() => this.#tell(this.state), 1000);
  }

  get state() {
    if (this.#failed) return "disconnected";
    if (this.#paused) return "paused";
    if (!this.#at) return "loading";
    return this.age > STALE && !document.hidden ? "stale" : "live";
  }

  /** Milliseconds since the last answer. */
  get age() {
    return performance.now() - this.#at;
  }

  get paused() {
    return this.#paused;
  }

  pause(paused) {
    this.#paused = paused;
    if (paused) this.#asking?.abort();
    this.#tell(this.state);
    this.#next(0);
  }

  /** Ask now: something else is wanted. A pause holds new figures back, not a new view. */
  async ask() {
    clearTimeout(this.#timer);
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    const signal = AbortSignal.any([asking.signal, AbortSignal.timeout(PATIENCE)]);
    try {
      const answers = await Promise.all(this.#questions().map((path) => fetchJson(path, signal)));
      if (this.#asking !== asking) return;
      [this.#failed, this.#at] = [false, performance.now()];
      this.#show(answers);
    } catch (error) {
      if (asking.signal.aborted) return;
      if (!(error instanceof Unanswered)) throw error;
      this.#failed = true;
    } finally {
      if (this.#asking === asking) this.#next(EVERY);
    }
    this.#tell(this.state);
  }

  #next(delay) {
    clearTimeout(this.#timer);
    if (!this.#paused && !document.hidden) this.#timer = setTimeout(() => this.ask(), delay);
  }
}

class Unanswered extends Error {}

async function fetchJson(path, signal) {
  try {
    const answer = await fetch(path, { signal, cache: "no-store" });
    if (answer.status === 404) return null;
    if (!answer.ok) throw new Unanswered(`${path}: ${answer.status}`);
    return await answer.json();
  } catch (error) {
    throw new Unanswered(`${path}: ${error.message}`);
  }
}
