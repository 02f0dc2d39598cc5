import { type ReactNode, useId } from "react";
import type { CaptionSession, SessionView } from "../captions/session";
import { LevelRibbon } from "./LevelRibbon";

interface DockProps {
  session: CaptionSession;
  view: SessionView;
  children: ReactNode;
}

export function Dock({ session, view, children }: DockProps) {
  const running = view.phase === "running" || view.phase === "starting";
  const canCheck = view.phase === "idle" || view.phase === "checking";
  const toggle = () => (running ? session.stop() : void session.start());
  return (
    <div className="dock">
      <LevelRibbon levels={session.levels} active={view.phase === "running" || view.phase === "checking"} />
      <div className="controls">
        <div className="main-controls">
          <button type="button" className={running ? "record on" : "record"} onClick={toggle} disabled={view.phase === "stopping"}>
            <span className="record-mark" aria-hidden="true" />
            {view.phase === "stopping" ? "Finishing…" : running ? "Stop" : "Start"}
          </button>
          {running ? (
            <button type="button" className="quiet" aria-pressed={view.muted} onClick={() => session.setMuted(!view.muted)}>
              Mute
            </button>
          ) : (
            <button
              type="button"
              className="quiet"
              aria-pressed={view.phase === "checking"}
              disabled={!canCheck}
              aria-label="Test the microphone"
              onClick={() => void session.toggleCheck()}
            >
              Test
            </button>
          )}
          <DevicePicker session={session} view={view} />
        </div>
        <div className="side-controls">{children}</div>
      </div>
    </div>
  );
}

function DevicePicker({ session, view }: { session: CaptionSession; view: SessionView }) {
  const id = useId();
  return (
    <div className="device">
      <label htmlFor={id} className="visually-hidden">
        Microphone
      </label>
      <select id={id} value={view.deviceId} onChange={(event) => void session.chooseDevice(event.target.value)}>
        <option value="">Default microphone</option>
        {view.devices.map((device) => (
          <option key={device.id} value={device.id}>
            {device.label}
          </option>
        ))}
      </select>
    </div>
  );
}
