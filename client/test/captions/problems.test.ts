import { expect, test } from "vitest";
import { fileProblemOf, problemOf } from "../../src/captions/problems";
import { MicrophoneError } from "../../src/lib/audio/microphone";
import { type FailureKind, MoshiError } from "../../src/lib/moshi";

const RETRYABLE: FailureKind[] = ["full", "draining", "engine", "unreachable"];

test.each(RETRYABLE)("a file that failed with %s is promised nothing that only a live recording gets", (kind) => {
  const { title, help } = fileProblemOf(new MoshiError(kind, ""));
  expect(title).toBe(problemOf(new MoshiError(kind, "")).title);
  expect(help).not.toMatch(/automatically|keep your/);
});

test("a limit of requests is not told as the end of a session", () => {
  expect(fileProblemOf(new MoshiError("policy", "")).title).toBe("Limit reached");
  expect(problemOf(new MoshiError("policy", "")).title).toBe("The server ended the session");
});

test("what is no known failure is told as one of the page", () => {
  expect(fileProblemOf(new MicrophoneError("busy")).title).toBe("The microphone can’t be opened");
  expect(problemOf(new Error("odd")).title).toBe("This page and the server don’t work together");
});
