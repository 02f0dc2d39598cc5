import type { SessionView } from "../captions/session";

/** Shown while there are no captions: what to do, or what the page is waiting for. */
export function EmptyState({ view, hint }: { view: SessionView; hint: string }) {
  const { lead, text } = wordsFor(view);
  const speakable = view.phase === "idle" || view.phase === "checking" || (view.phase === "running" && view.connection === "live");
  return (
    <div className="empty">
      <p className="lead">{lead}</p>
      {text && <p>{text}</p>}
      {speakable && hint && <p className="speak-hint">{hint}</p>}
    </div>
  );
}

function wordsFor(view: SessionView): { lead: string; text?: string } {
  if (view.phase === "idle" || view.phase === "checking") {
    return { lead: "Press Start and speak.", text: "Your words appear here as you speak. You can also drop a recording anywhere on this page." };
  }
  if (view.phase !== "running") return { lead: "One moment…" };
  switch (view.connection) {
    case "live":
      return view.muted ? { lead: "Your microphone is muted." } : { lead: "Say something." };
    case "queued":
      return { lead: "All places are taken.", text: "You can speak as soon as one is free. You keep your place in line." };
    case "waiting":
      return { lead: "Not connected yet." };
    default:
      return { lead: "One moment…" };
  }
}
