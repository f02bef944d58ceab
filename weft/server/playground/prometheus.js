// Metrics in the text format of Prometheus: sums of samples, and percentiles from histograms' buckets. No page here.

/** The samples of a text: {name: [{labels, value}]}. */
export function parse(text) {
  const samples = {};
  for (const line of text.split("\n")) {
    const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!found) continue;
    const labels = Object.fromEntries([...(found[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]));
    (samples[found[1]] ??= []).push({ labels, value: Number(found[3]) });
  }
  return samples;
}

/** The samples of one model, where a server has several: those whose `model_name` is another's are left out. */
export function ofModel(samples, model) {
  const names = new Set(Object.values(samples).flat().map(({ labels }) => labels.model_name));
  if (!names.has(model)) return samples; // an alias, or a model that was not loaded yet
  const isOurs = ({ labels }) => (labels.model_name ?? model) === model;
  return Object.fromEntries(Object.entries(samples).map(([name, found]) => [name, found.filter(isOurs)]));
}

/** The sum of all samples of a name; 0: there are none. */
export const sum = (samples, name) => (samples[name] ?? []).reduce((total, { value }) => total + value, 0);

/** The buckets of a histogram: [{le, count}], counts of values up to `le`, the last `le` is Infinity. */
export function buckets(samples, name) {
  const counts = new Map();
  for (const { labels, value } of samples[`${name}_bucket`] ?? []) {
    const le = labels.le === "+Inf" ? Infinity : Number(labels.le);
    counts.set(le, (counts.get(le) ?? 0) + value);
  }
  return [...counts].map(([le, count]) => ({ le, count })).sort((a, b) => a.le - b.le);
}

/** What was counted since `before`: buckets of the same histogram. */
export function since(now, before) {
  const earlier = new Map(before.map(({ le, count }) => [le, count]));
  return now.map(({ le, count }) => ({ le, count: Math.max(0, count - (earlier.get(le) ?? 0)) }));
}

/** How many values the buckets hold. */
export const countOf = (found) => found.at(-1)?.count ?? 0;

/** The value below which the part `share` of the values lies, as if a bucket's values were spread evenly in it.
 *  Infinity: above all bounds. null: there are fewer than 1 / (1 - share) values, too few to tell. */
export function percentile(found, share) {
  const total = countOf(found);
  if (total * (1 - share) < 1 - 1e-9) return null;
  const wanted = share * total;
  const at = found.findIndex(({ count }) => count >= wanted);
  const { le, count } = found[at];
  const [low, below] = at ? [found[at - 1].le, found[at - 1].count] : [0, 0];
  return le === Infinity ? Infinity : low + ((le - low) * (wanted - below)) / (count - below);
}
