/** Keeps the screen on until the returned function is called. The browser drops the lock with a hidden page; it is taken again. */
export function keepAwake(): () => void {
  let lock: WakeLockSentinel | null = null;
  let released = false;
  const take = async () => {
    if (released || document.visibilityState !== "visible" || !("wakeLock" in navigator)) return;
    // Refused on low battery, for one: captions work all the same.
    lock = await navigator.wakeLock.request("screen").catch(() => null);
    if (released) void lock?.release();
  };
  const onVisibility = () => void take();
  document.addEventListener("visibilitychange", onVisibility);
  void take();
  return () => {
    released = true;
    document.removeEventListener("visibilitychange", onVisibility);
    void lock?.release();
  };
}
