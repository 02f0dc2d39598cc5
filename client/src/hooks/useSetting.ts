import { useState } from "react";

/** A setting that is remembered on this device. */
export function useSetting<T extends string | number | boolean>(name: string, initial: T): [T, (value: T) => void] {
  const key = `moshi-${name}`;
  const [value, setValue] = useState<T>(() => {
    try {
      const stored: unknown = JSON.parse(localStorage.getItem(key) ?? "null");
      return typeof stored === typeof initial ? (stored as T) : initial;
    } catch {
      return initial;
    }
  });
  const set = (next: T) => {
    setValue(next);
    localStorage.setItem(key, JSON.stringify(next));
  };
  return [value, set];
}
