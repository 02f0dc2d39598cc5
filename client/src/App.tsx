import { useEffect, useRef, useState } from "react";
import { useAuth } from "./auth/useAuth";
import { CaptionSession } from "./captions/session";
import type { AppConfig } from "./lib/config";
import { Logo } from "./ui/Logo";
import { LivePage } from "./ui/LivePage";
import { SignInPage } from "./ui/SignInPage";

/** A session and whose it is: captions outlive a lost sign-in, but nobody else may see them. */
interface Owned {
  owner: string;
  session: CaptionSession;
}

export function App({ config }: { config: AppConfig }) {
  const auth = useAuth();
  const userId = auth.user?.id ?? null;
  const credentials = useRef(auth.credentials);
  const [owned, setOwned] = useState<Owned | null>(null);

  useEffect(() => {
    credentials.current = auth.credentials;
  }, [auth.credentials]);

  useEffect(() => {
    if (userId === null) return;
    setOwned((held) => {
      if (held?.owner === userId) return held;
      held?.session.dispose();
      return { owner: userId, session: new CaptionSession(config.endpoints.transcribe, (request) => credentials.current(request)) };
    });
  }, [userId, config]);

  const signOut = async () => {
    await auth.signOut();
    owned?.session.dispose();
    setOwned(null);
  };

  if (auth.isLoading) return <Splash />;
  if (auth.user === null) return <SignInPage accounts={config.accounts} apiKeys={config.apiKeys} resuming={owned !== null} />;
  if (owned?.owner !== auth.user.id) return <Splash />;
  return (
    <LivePage
      session={owned.session}
      user={auth.user}
      url={config.endpoints.transcribe}
      hint={config.hint}
      onSignOut={signOut}
      onSignInAgain={() => void auth.recheck()}
    />
  );
}

function Splash() {
  return (
    <main className="splash" aria-busy="true">
      <Logo />
      <p role="status">One moment…</p>
    </main>
  );
}
