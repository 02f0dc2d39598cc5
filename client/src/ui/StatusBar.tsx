import type { CaptionSession, SessionView } from "../captions/session";
import { usePausing } from "../hooks/useCaptionSession";
import { useNow } from "../hooks/useNow";

/** Always visible: the state of the connection, the delay of the words, the place in the queue, the next try. */
export function StatusBar({ session, view }: { session: CaptionSession; view: SessionView }) {
  const pausing = usePausing(session.transcript);
  const { tone, text } = statusOf(view, pausing);
  return (
    <div className="status">
      <p className={`state ${tone}`} role="status">
        <span className="dot" aria-hidden="true" />
        {text}
      </p>
      {view.retryAt !== null && <Retry at={view.retryAt} />}
      {view.queuePosition !== null && <p className="figure">Place {view.queuePosition} in line</p>}
      {view.delay !== null && (
        <p className={view.delay > 5 ? "figure late" : "figure"} title="Time from speech to caption">
          Delay {view.delay.toFixed(1)} s
        </p>
      )}
    </div>
  );
}

function Retry({ at }: { at: number }) {
  const now = useNow(500);
  const left = Math.ceil((at - now) / 1000);
  return <p className="figure">{left > 0 ? `Retrying in ${left} s` : "Retrying…"}</p>;
}

interface Status {
  tone: "off" | "busy" | "on" | "bad";
  text: string;
}

export function statusOf(view: SessionView, pausing: boolean): Status {
  if (view.phase === "idle") return { tone: "off", text: "Not listening" };
  if (view.phase === "checking") return { tone: "off", text: "Checking the microphone" };
  if (view.phase === "starting") return { tone: "busy", text: "Opening the microphone" };
  if (view.phase === "stopping") return { tone: "busy", text: "Finishing" };
  switch (view.connection) {
    case "connecting":
      return { tone: "busy", text: "Connecting" };
    case "queued":
      return { tone: "busy", text: "Waiting in line" };
    case "waiting":
      return { tone: "bad", text: "Not connected" };
    case "finishing":
    case "closed":
      return { tone: "busy", text: "Finishing" };
    case "live":
      if (view.draining) return { tone: "busy", text: "Server is restarting" };
      if (view.muted) return { tone: "off", text: "Muted" };
      return { tone: "on", text: pausing ? "Listening: pause" : "Listening" };
  }
}
