import { useState } from "react";
import type { CaptionSession } from "../captions/session";
import type { User } from "../hooks/useAuth";
import { useSessionView } from "../hooks/useCaptionSession";
import { useSetting } from "../hooks/useSetting";
import type { CredentialProvider } from "../lib/moshi";
import { Captions } from "./Captions";
import { Dock } from "./Dock";
import { ExportMenu } from "./ExportMenu";
import { FilePanel } from "./FilePanel";
import { Logo } from "./Logo";
import { ProblemBanner } from "./ProblemBanner";
import { StatusBar } from "./StatusBar";

interface LivePageProps {
  session: CaptionSession;
  user: User;
  /** The transcription endpoint. */
  url: URL;
  credentials: CredentialProvider;
  hint: string;
  onSignOut: () => Promise<void>;
  /** Shows the sign-in page. The captions are kept for the same person. */
  onSignInAgain: () => void;
}

const SIZES = [0.85, 1, 1.25, 1.6, 2] as const;

export function LivePage({ session, user, url, credentials, hint, onSignOut, onSignInAgain }: LivePageProps) {
  const view = useSessionView(session);
  const [size, setSize] = useSetting<number>("caption-size", 1);
  const [announce, setAnnounce] = useSetting<boolean>("announce", true);
  const [leaving, setLeaving] = useState(false);

  const leave = async () => {
    setLeaving(true);
    await onSignOut().catch(() => setLeaving(false));
  };

  return (
    <div className="live">
      <header className="top">
        <Logo />
        <StatusBar session={session} view={view} />
        <div className="account">
          <span className="user" title={user.name}>
            {user.name}
          </span>
          <button type="button" className="quiet" onClick={() => void leave()} disabled={leaving}>
            Sign out
          </button>
        </div>
      </header>
      <main>
        <h1 className="visually-hidden">Live captions</h1>
        <ProblemBanner session={session} view={view} onSignIn={onSignInAgain} />
        <FilePanel session={session} view={view} url={url} credentials={credentials} />
        <Captions session={session} announce={announce} size={size} view={view} hint={hint} />
      </main>
      <footer>
        <Dock session={session} view={view}>
          <TextSize size={size} onChange={setSize} />
          <button
            type="button"
            className="quiet"
            aria-pressed={announce}
            aria-label="Announce finished phrases to screen readers"
            title="Screen readers read out each finished phrase"
            onClick={() => setAnnounce(!announce)}
          >
            Announce
          </button>
          <ExportMenu session={session} />
        </Dock>
      </footer>
    </div>
  );
}

function TextSize({ size, onChange }: { size: number; onChange: (size: number) => void }) {
  const index = Math.max(0, SIZES.findIndex((s) => s >= size));
  const step = (by: number) => onChange(SIZES[Math.min(SIZES.length - 1, Math.max(0, index + by))]!);
  return (
    <div className="text-size" role="group" aria-label="Caption size">
      <button type="button" className="quiet smaller" aria-label="Smaller captions" disabled={index === 0} onClick={() => step(-1)} />
      <button type="button" className="quiet larger" aria-label="Larger captions" disabled={index === SIZES.length - 1} onClick={() => step(1)} />
    </div>
  );
}
