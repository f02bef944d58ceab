// Numbers as people read them.

/** A duration in seconds: "12 ms", "1.4 s", "3 min". */
export function seconds(value) {
  if (value < 0.0095) return `${(1000 * value).toFixed(1)} ms`;
  if (value < 1) return `${Math.round(1000 * value)} ms`;
  return value < 120 ? `${value.toFixed(value < 10 ? 2 : 1)} s` : `${Math.round(value / 60)} min`;
}

/** A number of bytes: "3.6 MiB". */
export function bytes(value) {
  const power = value < 1 ? 0 : Math.min(4, Math.floor(Math.log2(value) / 10));
  return `${short(value / 1024 ** power)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

/** A count: "1.87 M". */
export function count(value) {
  const power = value < 1 ? 0 : Math.min(4, Math.floor(Math.log10(value) / 3));
  return `${short(value / 1000 ** power)} ${["", "k", "M", "G", "T"][power]}`.trim();
}

/** A rate or a count in a few digits. */
export function short(value) {
  return Number.isInteger(value) && value < 1000 ? String(value) : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
}

/** A part of one: "25.0 %". */
export const share = (value) => `${(100 * value).toFixed(1)} %`;
