/** Better Auth's refusals in words. */

export interface AuthFailure {
  text: string;
  /** Seconds until the server accepts another attempt. */
  retryAfter: number | null;
}

const WORDS: Record<string, string> = {
  INVALID_EMAIL_OR_PASSWORD: "That e-mail address and password don’t match. Check both and try again.",
  INVALID_EMAIL: "That doesn’t look like an e-mail address.",
  VALIDATION_ERROR: "Something is missing or not valid. Check each field.",
  USER_ALREADY_EXISTS: "There is already an account with this e-mail address. Sign in instead.",
  USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL: "There is already an account with this e-mail address. Sign in instead.",
  EMAIL_PASSWORD_SIGN_UP_DISABLED: "You can’t create an account here yourself. Ask the server’s administrator for one.",
  PASSWORD_TOO_SHORT: "Your password needs at least 8 characters.",
  PASSWORD_TOO_LONG: "Your password can have at most 128 characters.",
  EMAIL_NOT_VERIFIED: "Confirm your e-mail address first, with the link in the message we sent you.",
  INVALID_ORIGIN: "The sign-in server doesn’t accept this page’s address. Its administrator must add it to the trusted origins.",
};

interface ErrorBody {
  code?: string | undefined;
  message?: string | undefined;
  status: number;
}

function authFailure(error: ErrorBody, retryAfter: number | null): AuthFailure {
  if (error.status === 429) return { text: "Too many attempts.", retryAfter: retryAfter ?? 10 };
  const text = (error.code && WORDS[error.code]) || error.message || "The sign-in server reported an error. Try again in a moment.";
  return { text, retryAfter: null };
}

const UNREACHABLE: AuthFailure = {
  text: "The sign-in server can’t be reached. Check your connection and try again.",
  retryAfter: null,
};

interface FetchOptions {
  onError: (context: { response: Response }) => void;
}

/**
 * Makes a call of Better Auth. Resolves with the reason if it was refused, which Better Auth gives as a value; if the
 * network failed, which it gives as a rejection; or if there were too many tries, whose wait is in a header.
 */
export async function attempt(call: (fetchOptions: FetchOptions) => Promise<{ error: ErrorBody | null }>): Promise<AuthFailure | null> {
  let retryAfter: number | null = null;
  try {
    const { error } = await call({
      onError: ({ response }) => {
        const wait = Number(response.headers.get("x-retry-after") ?? NaN);
        retryAfter = Number.isFinite(wait) ? wait : null;
      },
    });
    return error && authFailure(error, retryAfter);
  } catch {
    return UNREACHABLE;
  }
}
