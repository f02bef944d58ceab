// Reads /metrics every second or two, while the page can be seen.

import { metricsText } from "./api.js";
import { parse } from "./prometheus.js";

const POLL_MS = 1500;

/** Call `seen(samples, seconds)` for each reading; seconds: when it was made. samples null: the server did not answer. */
export function watchMetrics(seen) {
  const tick = async () => {
    if (!document.hidden) {
      let samples = null;
      try {
        samples = parse(await metricsText());
      } catch {
        // told by `null`
      }
      seen(samples, performance.now() / 1000);
    }
    setTimeout(tick, POLL_MS);
  };
  tick();
}
