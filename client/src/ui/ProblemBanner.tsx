import type { CaptionSession, SessionView } from "../captions/session";

interface ProblemBannerProps {
  session: CaptionSession;
  view: SessionView;
  onSignIn: () => void;
}

export function ProblemBanner({ session, view, onSignIn }: ProblemBannerProps) {
  const { problem, notice } = view;
  const retry = () => (view.connection === "waiting" ? session.retryNow() : void session.start());
  return (
    <>
      {problem && (
        <div className="problem" role="alert">
          <div>
            <strong>{problem.title}</strong>
            <p>{problem.help}</p>
          </div>
          <div className="problem-actions">
            {problem.action === "retry" && (
              <button type="button" onClick={retry}>
                Try now
              </button>
            )}
            {problem.action === "sign-in" && (
              <button type="button" onClick={onSignIn}>
                Sign in again
              </button>
            )}
            <button type="button" className="quiet" onClick={() => session.dismiss()}>
              Dismiss
            </button>
          </div>
        </div>
      )}
      {notice && (
        <p className="notice" role="status">
          {notice}
        </p>
      )}
    </>
  );
}
