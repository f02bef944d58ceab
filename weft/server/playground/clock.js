// The times of one answer, and its figures: {speed, ttft, promptTokens, cachedTokens, answerTokens}; null: not known.

/** A clock that starts now. */
export const newClock = () => ({ start: performance.now(), first: null, last: null });

/** A part of the answer has come. */
export function tick(clock) {
  clock.last = performance.now();
  clock.first ??= clock.last;
}

/** The figures of the answer. usage: as the server counts; null: it did not. */
export function figuresOf({ start, first, last }, usage) {
  return {
    speed: usage && last > first ? (1000 * (usage.completion_tokens - 1)) / (last - first) : null,
    ttft: first && first - start,
    promptTokens: usage?.prompt_tokens ?? null,
    cachedTokens: usage ? usage.prompt_tokens_details?.cached_tokens ?? 0 : null,
    answerTokens: usage?.completion_tokens ?? null,
  };
}
