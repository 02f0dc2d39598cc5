import { useEffect, useSyncExternalStore } from "react";
import { credentials } from "./auth/credentials";
import { OwnedSession } from "./captions/owned";
import { CaptionSession } from "./captions/session";
import { config } from "./config";
import { useAuth } from "./hooks/useAuth";
import { Logo } from "./ui/Logo";
import { LivePage } from "./ui/LivePage";
import { SignInPage } from "./ui/SignInPage";

const captions = new OwnedSession(() => new CaptionSession(config.endpoints.transcribe, credentials));

export function App() {
  const auth = useAuth();
  const userId = auth.user?.id ?? null;
  const owned = useSyncExternalStore(captions.subscribe, () => captions.current);

  useEffect(() => {
    if (userId !== null) captions.giveTo(userId);
  }, [userId]);

  const signOut = async () => {
    await auth.signOut();
    captions.clear();
  };

  if (auth.isLoading) return <Splash />;
  if (auth.user === null) return <SignInPage accounts={config.accounts} apiKeys={config.apiKeys} resuming={owned !== null} />;
  if (owned?.owner !== auth.user.id) return <Splash />;
  return (
    <LivePage
      session={owned.session}
      user={auth.user}
      url={config.endpoints.transcribe}
      credentials={credentials}
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
