// @vitest-environment node
import { describe, expect, test } from "vitest";
import { readSettings } from "../../auth-server/src/settings.js";
import { eachWithFolder, post, SECRET, start, stop, ZOE } from "../support/auth-server";

eachWithFolder();

describe("closed registration", () => {
  test("makes no account, tells of none, and lets in who has one", async () => {
    await start();
    await post("sign-up/email", ZOE);
    await stop();
    await start({ AUTH_SIGN_UP: "off" });
    const refused = await post("sign-up/email", { ...ZOE, email: "new@example.test" });
    expect(refused.status).toBe(400);
    expect(await refused.clone().json()).toMatchObject({ code: "EMAIL_PASSWORD_SIGN_UP_DISABLED" });
    const known = await post("sign-up/email", ZOE);
    expect([known.status, await known.text()]).toEqual([refused.status, await refused.text()]);
    expect((await post("sign-in/email", { ...ZOE, email: "new@example.test" })).status).toBe(401);
    expect((await post("sign-in/email", ZOE)).status).toBe(200);
  });

  test.each(["AUTH_SIGN_UP", "AUTH_RATE_LIMIT"])("a word for %s that could mean either is refused", (name) => {
    expect(() => readSettings({ BETTER_AUTH_SECRET: SECRET, [name]: "false" })).toThrow(`${name} must be "on" or "off"`);
  });
});
