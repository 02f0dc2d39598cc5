import { act, fireEvent, render, screen, within } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CaptionSession, type SessionView } from "../../src/captions/session";
import { Captions, MAX_SHOWN } from "../../src/ui/Captions";
import { statusOf } from "../../src/ui/StatusBar";

let session: CaptionSession;
beforeEach(() => {
  session = new CaptionSession(new URL("http://nowhere.test/"), () => Promise.reject(new Error("not used")));
});
afterEach(() => session.dispose());

function say(text: string, from: number): void {
  text.split(" ").forEach((word, i) => {
    session.transcript.addWord(word, from + i * 0.5);
    session.transcript.endWord(from + i * 0.5 + 0.3);
  });
}

const show = (announce = true) => render(<Captions session={session} announce={announce} size={1} view={session.view} hint="Say a number." />);
const log = () => screen.getByRole("log");
const drawnWords = () => [...document.querySelectorAll(".word")].map((w) => w.textContent?.trim());

test("only finished phrases are in the log", () => {
  show();
  act(() => say("one two", 0));
  expect(log().textContent).toBe("");
  expect(drawnWords()).toEqual(["one", "two"]);
  act(() => say("three", 4));
  expect(log().textContent).toContain("one two");
  expect(log().textContent).not.toContain("three");
});

test("the last word is pending till its end is heard", () => {
  show();
  act(() => session.transcript.addWord("wait", 0));
  expect(document.querySelector(".pending")?.textContent).toBe("wait");
  act(() => session.transcript.endWord(0.4));
  expect(document.querySelector(".pending")).toBeNull();
});

test("announcing can be switched off", () => {
  const { rerender } = show(true);
  expect(log().getAttribute("aria-live")).toBe("polite");
  rerender(<Captions session={session} announce={false} size={1} view={session.view} hint="Say a number." />);
  expect(log().getAttribute("aria-live")).toBe("off");
});

test("pauses and cuts are drawn between phrases", () => {
  show();
  act(() => say("one", 0));
  act(() => say("two", 3.3));
  expect(document.querySelector(".pause")?.textContent).toBe("3.0 s");
  act(() => session.transcript.resume(4, 2));
  expect(log().textContent).toContain("connection lost: 2.0 s missing");
});

describe("a word tells its time", () => {
  beforeEach(() => {
    show();
    act(() => say("one two three", 60));
  });
  const chosen = () => document.querySelector(".chosen-time")?.textContent;

  test("by a click", () => {
    fireEvent.click(screen.getByText("two"));
    expect(chosen()).toBe("“two” at 1:00.5 to 1:00.8");
    fireEvent.click(screen.getByRole("region"));
    expect(chosen()).toBe("");
  });

  test("by the arrow keys, from the newest backwards", () => {
    const region = screen.getByRole("region");
    fireEvent.keyDown(region, { key: "ArrowLeft" });
    expect(chosen()).toContain("three");
    fireEvent.keyDown(region, { key: "ArrowLeft" });
    expect(chosen()).toContain("two");
    fireEvent.keyDown(region, { key: "ArrowRight" });
    expect(chosen()).toContain("three");
    fireEvent.keyDown(region, { key: "Escape" });
    expect(chosen()).toBe("");
  });
});

test("the page holds a bounded number of lines however long the session, and the older ones can be reached", () => {
  show();
  act(() => {
    for (let i = 0; i < MAX_SHOWN * 2; i++) say(`phrase${i}`, i * 10);
    session.transcript.finish();
  });
  expect(drawnWords().length).toBe(MAX_SHOWN);
  expect(drawnWords().at(-1)).toBe(`phrase${MAX_SHOWN * 2 - 1}`);
  for (let press = 0; press < 2; press++) fireEvent.click(screen.getByRole("button", { name: /Earlier/ }));
  expect(drawnWords().length).toBe(MAX_SHOWN);
  expect(drawnWords()[0]).toBe("phrase0");
  fireEvent.click(screen.getByRole("button", { name: /newest/ }));
  expect(drawnWords()[0]).toBe(`phrase${MAX_SHOWN}`);
});

test("an empty page says what to do", () => {
  show();
  expect(within(screen.getByRole("region")).getByText("Press Start and speak.")).toBeTruthy();
  expect(screen.getByText("Say a number.")).toBeTruthy();
});

describe("the state in words", () => {
  const view = (change: Partial<SessionView>): SessionView => ({ ...session.view, phase: "running", connection: "live", ...change });

  test.each<[Partial<SessionView>, string]>([
    [{ phase: "idle", connection: "closed" }, "Not listening"],
    [{ phase: "starting" }, "Opening the microphone"],
    [{ connection: "connecting" }, "Connecting"],
    [{ connection: "queued" }, "Waiting in line"],
    [{ connection: "waiting" }, "Not connected"],
    [{ draining: true }, "Server is restarting"],
    [{ muted: true }, "Muted"],
    [{}, "Listening"],
    [{ phase: "stopping" }, "Finishing"],
  ])("%o", (change, text) => {
    expect(statusOf(view(change), false).text).toBe(text);
  });

  test("a pause is told", () => {
    expect(statusOf(view({}), true).text).toBe("Listening: pause");
  });
});
