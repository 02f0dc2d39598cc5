/** Timers that are running: those of libraries too, as Better Auth's client sets one when the last who listened has gone. */
const running = new Set<NodeJS.Timeout>();

/** From now on `clearTimers` knows of every timer that is set. */
export function watchTimers(): void {
  for (const name of ["setTimeout", "setInterval"] as const) {
    const original = globalThis[name] as typeof setTimeout;
    const watched = (callback: (...args: unknown[]) => void, delay?: number, ...args: unknown[]) => {
      const timer = original(callback, delay, ...args);
      running.add(timer);
      return timer;
    };
    // With what Node keeps on it, such as its form with a promise.
    globalThis[name] = Object.defineProperties(watched, Object.getOwnPropertyDescriptors(original)) as never;
  }
}

/** Stops all of them. */
export function clearTimers(): void {
  for (const timer of running) clearTimeout(timer);
  running.clear();
}
