import { type FormEvent, type ReactNode, useEffect, useId, useRef, useState } from "react";
import { attempt, type AuthFailure } from "../auth/errors";
import { useAuth } from "../hooks/useAuth";
import { Logo } from "./Logo";

type Mode = "sign-in" | "sign-up" | "api-key";

interface SignInProps {
  accounts: boolean;
  apiKeys: boolean;
  /** The session ended while there were captions, which are still there. */
  resuming: boolean;
}

const HEADINGS: Record<Mode, string> = { "sign-in": "Sign in", "sign-up": "Create an account", "api-key": "Use an API key" };

export function SignInPage({ accounts, apiKeys, resuming }: SignInProps) {
  const auth = useAuth();
  const [mode, setMode] = useState<Mode>(accounts ? "sign-in" : "api-key");
  const [email, setEmail] = useState("");
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<AuthFailure | null>(null);
  const wait = useCountdown(failure?.retryAfter ?? null, failure);

  const switchTo = (next: Mode) => {
    setMode(next);
    setFailure(null);
  };

  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string) => {
      const value = form.get(name);
      return typeof value === "string" ? value : "";
    };
    setFailure(null);
    if (mode === "api-key") return auth.enterApiKey(text("key").trim());
    setBusy(true);
    const password = text("password");
    const result = await attempt((fetchOptions) =>
      mode === "sign-in"
        ? auth.signIn.email({ email, password, rememberMe: form.has("remember"), fetchOptions })
        : auth.signUp.email({ name: text("name").trim(), email, password, fetchOptions }),
    );
    setBusy(false);
    setFailure(result);
  };

  const label = busy ? (mode === "sign-in" ? "Signing in…" : "Creating account…") : wait > 0 ? `Wait ${wait} s` : mode === "api-key" ? "Continue" : HEADINGS[mode];
  return (
    <main className="sign-in">
      <section className="pitch" aria-hidden="true">
        <Logo />
        <p className="pitch-words">
          Words, as they are <span className="pending">spoken.</span>
        </p>
        <Waveform />
        <p className="pitch-note">Live captions from your own server.</p>
      </section>
      <section className="panel">
        <h1>{HEADINGS[mode]}</h1>
        {resuming && <p className="resume-note">Your session has ended. Sign in again to continue: your captions are still here.</p>}
        {auth.isUnreachable && !failure && mode !== "api-key" && (
          <p className="resume-note" role="status">
            The sign-in server can’t be reached right now.
          </p>
        )}
        {failure && <Alert failure={failure} wait={wait} />}
        <form onSubmit={(event) => void submit(event)}>
          {mode === "api-key" && <Field label="API key" name="key" type="password" autoComplete="off" />}
          {mode === "sign-up" && <Field label="Name" name="name" type="text" autoComplete="name" />}
          {mode !== "api-key" && (
            <>
              <Field label="E-mail" name="email" type="email" autoComplete="username" value={email} onChange={setEmail} />
              <PasswordField key={mode} fresh={mode === "sign-up"} />
            </>
          )}
          {mode === "sign-in" && (
            <label className="check">
              <input type="checkbox" name="remember" defaultChecked /> Stay signed in on this device
            </label>
          )}
          <button className="primary" type="submit" disabled={busy || wait > 0} aria-busy={busy}>
            {label}
          </button>
        </form>
        <div className="switches">
          {accounts && mode !== "sign-up" && <Switch onClick={() => switchTo("sign-up")}>Create an account</Switch>}
          {accounts && mode !== "sign-in" && <Switch onClick={() => switchTo("sign-in")}>I already have an account</Switch>}
          {accounts && apiKeys && mode !== "api-key" && <Switch onClick={() => switchTo("api-key")}>Use an API key</Switch>}
        </div>
      </section>
    </main>
  );
}

/** A drawing of the sound of three words, with silence between them. */
function Waveform() {
  const heights = Array.from({ length: 72 }, (_, i) => {
    const word = Math.max(0, Math.sin((i / 72) * Math.PI * 3.4 + 0.35));
    const grain = 0.62 + 0.38 * Math.sin(i * 2.3) * Math.cos(i * 0.71);
    return 3 + 93 * word * grain;
  });
  return (
    <svg className="pitch-wave" viewBox="0 0 720 100" preserveAspectRatio="none" focusable="false">
      {heights.map((height, i) => (
        <rect key={i} x={i * 10} y={50 - height / 2} width="4" height={height} rx="2" />
      ))}
    </svg>
  );
}

function Switch({ onClick, children }: { onClick: () => void; children: ReactNode }) {
  return (
    <button type="button" className="link" onClick={onClick}>
      {children}
    </button>
  );
}

/** Takes the focus, so that people with a screen reader or a keyboard are taken to the message. */
function Alert({ failure, wait }: { failure: AuthFailure; wait: number }) {
  const ref = useRef<HTMLParagraphElement>(null);
  useEffect(() => ref.current?.focus(), [failure]);
  return (
    <p className="alert" role="alert" tabIndex={-1} ref={ref}>
      {failure.text}
      {failure.retryAfter !== null && (wait > 0 ? " Wait a moment, then try again." : " You can try again now.")}
    </p>
  );
}

interface FieldProps {
  label: string;
  name: string;
  type: string;
  autoComplete: string;
  value?: string;
  onChange?: (value: string) => void;
  children?: ReactNode;
  hint?: string;
  minLength?: number;
}

function Field({ label, onChange, children, hint, ...input }: FieldProps) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <div className="field-row">
        <input
          id={id}
          required
          spellCheck={false}
          aria-describedby={hint ? `${id}-hint` : undefined}
          onChange={onChange && ((event) => onChange(event.target.value))}
          {...input}
        />
        {children}
      </div>
      {hint && (
        <p className="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}

function PasswordField({ fresh }: { fresh: boolean }) {
  const [shown, setShown] = useState(false);
  return (
    <Field
      label="Password"
      name="password"
      type={shown ? "text" : "password"}
      autoComplete={fresh ? "new-password" : "current-password"}
      {...(fresh ? { hint: "At least 8 characters.", minLength: 8 } : {})}
    >
      <button type="button" className="reveal" aria-label={shown ? "Hide password" : "Show password"} onClick={() => setShown(!shown)}>
        {shown ? "Hide" : "Show"}
      </button>
    </Field>
  );
}

/** Counts down from `seconds`, and starts again when `key` changes. Returns the seconds left. */
function useCountdown(seconds: number | null, key: unknown): number {
  const [left, setLeft] = useState(0);
  useEffect(() => {
    const until = Date.now() + (seconds ?? 0) * 1000;
    const tick = () => setLeft(Math.max(0, Math.ceil((until - Date.now()) / 1000)));
    tick();
    const timer = setInterval(tick, 250);
    return () => clearInterval(timer);
  }, [seconds, key]);
  return left;
}
