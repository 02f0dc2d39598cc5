import type { SessionView } from "../captions/session";

export function EmptyState({ view }: { view: SessionView }) {
  const idle = view.phase === "idle" || view.phase === "checking";
  return (
    <div className="empty">
      <p className="lead">{idle ? "Press Start and speak." : view.connection === "live" ? "Say something." : "One moment…"}</p>
      {idle && <p>Your words appear here as you say them. You can also drop a recording anywhere on this page.</p>}
    </div>
  );
}
