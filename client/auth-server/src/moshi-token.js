import { createAuthEndpoint, sensitiveSessionMiddleware } from "better-auth/api";
import { signJWT } from "better-auth/crypto";

export const TOKEN_AUDIENCE = "moshi-server";

/**
 * `GET /api/auth/moshi-token`: a short-lived JWT for moshi-server, for pages on another host than it, where the session
 * cookie doesn't go. It names the session and the user, and holds neither an e-mail address nor the session's own token.
 * @param {number} lifeSeconds
 */
export function moshiToken(lifeSeconds) {
  return /** @satisfies {import("better-auth").BetterAuthPlugin} */ ({
    id: "moshi-token",
    endpoints: {
      moshiToken: createAuthEndpoint("/moshi-token", { method: "GET", use: [sensitiveSessionMiddleware] }, async (ctx) => {
        const { session } = ctx.context.session;
        const claims = {
          id: session.id,
          userId: session.userId,
          createdAt: seconds(session.createdAt),
          updatedAt: seconds(session.updatedAt),
          expiresAt: seconds(session.expiresAt),
          ipAddress: session.ipAddress ?? "",
          userAgent: session.userAgent ?? "",
          aud: TOKEN_AUDIENCE,
        };
        ctx.setHeader("Cache-Control", "no-store");
        return ctx.json({ token: await signJWT(claims, ctx.context.secret, lifeSeconds), expires_in: lifeSeconds });
      }),
    },
  });
}

/** @param {Date | string} date */
function seconds(date) {
  return Math.floor(new Date(date).getTime() / 1000);
}
