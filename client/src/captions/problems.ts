/** Texts for each kind of failure, and what the person can do about it. */
import { MicrophoneError } from "../lib/audio/microphone";
import { MoshiError } from "../lib/moshi";

export interface Problem {
  title: string;
  help: string;
  action: "retry" | "sign-in" | null;
}

const STREAM: Record<MoshiError["kind"], Problem> = {
  unauthenticated: {
    title: "You are signed out",
    help: "Your session has ended. Sign in again to continue. Your captions stay here until then.",
    action: "sign-in",
  },
  forbidden: {
    title: "Not allowed",
    help: "Your account or this page’s address isn’t allowed to use this server. Ask the server’s administrator.",
    action: null,
  },
  full: {
    title: "The server is full",
    help: "All places are taken. We’ll try again automatically.",
    action: "retry",
  },
  draining: {
    title: "The server is restarting",
    help: "It is down for maintenance. We keep your latest audio and send it as soon as the server is back.",
    action: "retry",
  },
  engine: {
    title: "The speech engine stopped",
    help: "The server had an internal error. If this keeps happening, tell the server’s administrator.",
    action: "retry",
  },
  unreachable: {
    title: "The server can’t be reached",
    help: "Check your network connection. We keep your latest audio and send it when the connection is back.",
    action: "retry",
  },
  "too-large": {
    title: "Too large",
    help: "The server doesn’t accept a file or message of this size. Try a shorter recording or a compressed format.",
    action: null,
  },
  policy: {
    title: "The server ended the session",
    help: "It was idle for too long, or your account reached a limit. You can start again.",
    action: "retry",
  },
  protocol: {
    title: "This page and the server don’t work together",
    help: "They may be different versions. Reload the page. If that doesn’t help, tell the server’s administrator.",
    action: "retry",
  },
  "no-tickets": {
    title: "The server didn’t accept an API key from this page",
    help: "It issues no ticket for your key, and this page doesn’t use the key in any other way. Tell the server’s administrator that /api/ws-ticket must reach the speech server.",
    action: "retry",
  },
};

/** What is different for a file: no audio is kept, and nothing is tried again automatically. */
const FILE: Partial<Record<MoshiError["kind"], Partial<Problem>>> = {
  full: { help: "All places are taken. Try again in a moment." },
  draining: { help: "It is down for maintenance. Try again in a moment." },
  unreachable: { help: "Check your network connection, then try again." },
  policy: { title: "Limit reached", help: "There were too many requests from your account or network. Try again later." },
};

const MICROPHONE: Record<MicrophoneError["kind"], Problem> = {
  insecure: {
    title: "The microphone needs a secure page",
    help: "Browsers allow the microphone only over https or on localhost. Open this page at its https address.",
    action: null,
  },
  refused: {
    title: "The microphone is blocked",
    help: "Allow it for this page with the icon next to the address, then start again.",
    action: "retry",
  },
  missing: {
    title: "No microphone found",
    help: "Plug one in or choose another from the list, then start again.",
    action: "retry",
  },
  busy: {
    title: "The microphone can’t be opened",
    help: "Another program may be using it. Close that program or choose another microphone.",
    action: "retry",
  },
  unknown: {
    title: "The microphone doesn’t work",
    help: "Your browser couldn’t record from it. Try another microphone or another browser.",
    action: "retry",
  },
};

/** The problem of a live recording. */
export function problemOf(error: unknown): Problem {
  if (error instanceof MoshiError) return STREAM[error.kind];
  if (error instanceof MicrophoneError) return MICROPHONE[error.kind];
  return STREAM.protocol;
}

/** The problem of a file that was sent for transcription. */
export function fileProblemOf(error: unknown): Problem {
  return { ...problemOf(error), ...(error instanceof MoshiError ? FILE[error.kind] : {}) };
}
