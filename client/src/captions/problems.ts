/** What to tell a person for each way things fail, and what they can do. */
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
    help: "Your session has ended. Sign in again to go on; your captions stay here until then.",
    action: "sign-in",
  },
  forbidden: {
    title: "Not allowed",
    help: "Your account or this page’s address isn’t allowed to use this server. Ask whoever runs it.",
    action: null,
  },
  full: {
    title: "The server is full",
    help: "The server is busy. We’ll retry automatically.",
    action: "retry",
  },
  draining: {
    title: "The server is restarting",
    help: "It is down for maintenance. Your audio is kept and sent as soon as it is back.",
    action: "retry",
  },
  engine: {
    title: "The speech engine stopped",
    help: "The server had an internal failure. If this goes on, tell whoever runs it.",
    action: "retry",
  },
  unreachable: {
    title: "The server can’t be reached",
    help: "Check your network. Your audio is kept for a while and sent when the connection is back.",
    action: "retry",
  },
  "too-large": {
    title: "Too large",
    help: "The server doesn’t accept a file or message of this size. Try a shorter recording or a compressed format.",
    action: null,
  },
  policy: {
    title: "The server ended the session",
    help: "It was idle for too long, or a limit of your account was reached. You can start again.",
    action: "retry",
  },
  protocol: {
    title: "The page and the server don’t understand each other",
    help: "They may be of different versions. Reload the page; if that doesn’t help, tell whoever runs the server.",
    action: "retry",
  },
  "no-tickets": {
    title: "The server takes no API key from this page",
    help: "It gives no ticket for it, and your key was not sent in another way. Tell whoever runs it: /api/ws-ticket must lead to the speech server.",
    action: "retry",
  },
};

const MICROPHONE: Record<MicrophoneError["kind"], Problem> = {
  insecure: {
    title: "The microphone needs a secure page",
    help: "Browsers allow the microphone only over https, or on localhost. Open this page by its https address.",
    action: null,
  },
  refused: {
    title: "The microphone is blocked",
    help: "Allow it for this page with the icon beside the address, then start again.",
    action: "retry",
  },
  missing: {
    title: "No microphone found",
    help: "Plug one in, or choose another in the list, then start again.",
    action: "retry",
  },
  busy: {
    title: "The microphone can’t be opened",
    help: "Another program may be using it. Close that one, or choose another microphone.",
    action: "retry",
  },
  unknown: {
    title: "The microphone failed",
    help: "The browser could not record from it. Try another microphone or another browser.",
    action: "retry",
  },
};

export function problemOf(error: unknown): Problem {
  if (error instanceof MoshiError) return STREAM[error.kind];
  if (error instanceof MicrophoneError) return MICROPHONE[error.kind];
  return STREAM.protocol;
}
