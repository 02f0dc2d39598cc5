/** Keeps the screen on until the returned function is called. A hidden page loses the lock and takes it again when shown. */
export function keepAwake(): () => void {
  let lock: WakeLockSentinel | null = null;
  let released = false;
  const take = async () => {
    if (released || document.visibilityState !== "visible" || !("wakeLock" in navigator)) return;
    // The browser may refuse, on low battery for example; captions work without the lock.
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
