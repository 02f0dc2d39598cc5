import { render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, type MockInstance, test, vi } from "vitest";
import { CaptionSession } from "../../src/captions/session";
import { Microphone, MicrophoneError } from "../../src/lib/audio/microphone";
import { LivePage } from "../../src/ui/LivePage";
import { FakeServer, json, PATH } from "../support/fake-server";

let openMicrophone: MockInstance<typeof Microphone.open>;
let server: FakeServer;
let session: CaptionSession;
const signOut = vi.fn(() => Promise.resolve());
const signInAgain = vi.fn();

beforeEach(async () => {
  localStorage.clear();
  server = await FakeServer.start();
  openMicrophone = vi.spyOn(Microphone, "open").mockImplementation(() => Promise.resolve({ close: () => undefined } as unknown as Microphone));
  // jsdom has no canvas: the meter draws nothing, and reads its level all the same.
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);
  vi.stubGlobal("matchMedia", () => ({ matches: false }));
  const credentials = () => Promise.resolve({ via: "cookie" } as const);
  session = new CaptionSession(server.url, credentials);
  render(
    <LivePage
      session={session}
      user={{ id: "u", name: "Zoë" }}
      url={server.url}
      credentials={credentials}
      hint=""
      onSignOut={signOut}
      onSignInAgain={signInAgain}
    />,
  );
});
afterEach(async () => {
  vi.unstubAllGlobals();
  session.dispose();
  await server.stop();
});

const button = (name: string | RegExp) => screen.getByRole<HTMLButtonElement>("button", { name });

test("start, words, stop", async () => {
  const user = userEvent.setup();
  await user.click(button("Start"));
  const connection = await server.connection();
  await screen.findByText("Listening");
  connection.say("hello", 0, 0.4);
  await screen.findByText("hello");
  await user.click(button("Stop"));
  await connection.until(() => connection.controls.some((c) => c.type === "EndOfStream"));
  connection.send({ type: "EndOfStream" });
  await screen.findByText("Not listening");
  expect(screen.getByRole("log").textContent).toContain("hello");
});

test("a problem is told with what to do about it", async () => {
  const user = userEvent.setup();
  openMicrophone.mockRejectedValueOnce(new MicrophoneError("refused"));
  await user.click(button("Start"));
  const alert = await screen.findByRole("alert");
  expect(alert.textContent).toContain("The microphone is blocked");
  await user.click(within(alert).getByRole("button", { name: "Try now" }));
  await screen.findByText("Listening");
  expect(screen.queryByRole("alert")).toBeNull();
});

test("a lost sign-in offers to sign in again", async () => {
  const user = userEvent.setup();
  server.onConnection = (connection) => connection.close(4401);
  await user.click(button("Start"));
  await user.click(await screen.findByRole("button", { name: "Sign in again" }));
  expect(signInAgain).toHaveBeenCalledOnce();
});

test("signing out", async () => {
  await userEvent.setup().click(button("Sign out"));
  expect(signOut).toHaveBeenCalledOnce();
});

test("the caption size is changed within bounds, and remembered", async () => {
  const user = userEvent.setup();
  const region = screen.getByRole("region");
  for (let i = 0; i < 5; i++) await user.click(button("Larger captions"));
  expect(region.style.fontSize).toBe("2em");
  expect(button("Larger captions").disabled).toBe(true);
  expect(localStorage.getItem("moshi-caption-size")).toBe("2");
});

test("captions are copied and downloaded", async () => {
  const user = userEvent.setup();
  expect(button("Copy").disabled).toBe(true);
  session.showRecording([{ text: "hello", start: 0, stop: 1 }]);
  await waitFor(() => expect(button("Copy").disabled).toBe(false));
  await user.click(button("Copy"));
  expect(await navigator.clipboard.readText()).toBe("hello\n");

  const blobs: Blob[] = [];
  URL.createObjectURL = vi.fn((blob: Blob) => (blobs.push(blob), "blob:x"));
  URL.revokeObjectURL = vi.fn();
  const names: string[] = [];
  vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (this: HTMLAnchorElement) {
    names.push(this.download);
  });
  await user.click(button("Download"));
  await user.click(button(/srt/));
  expect(names[0]).toMatch(/^captions-.*\.srt$/);
  expect(await read(blobs[0]!)).toContain("00:00:00,000 --> 00:00:01,000");
});

/** jsdom's Blob can't be asked for its text. */
function read(blob: Blob): Promise<string> {
  const reader = new FileReader();
  return new Promise((resolve) => {
    reader.onload = () => resolve(reader.result as string);
    reader.readAsText(blob);
  });
}

const recording = new File(["sound"], "talk.wav", { type: "audio/wav" });

test("a file is transcribed, after asking when captions would be lost", async () => {
  const user = userEvent.setup();
  server.routes.set(`POST ${PATH}`, (_request, response) =>
    json(response, [
      { type: "Word", text: "recorded", start_time: 0.5 },
      { type: "EndWord", stop_time: 0.9 },
    ]),
  );
  await user.upload(screen.getByLabelText("Transcribe a file"), recording);
  await screen.findByText("recorded");
  session.showRecording([{ text: "mine", start: 0, stop: 1 }]);
  await user.upload(screen.getByLabelText("Transcribe a file"), recording);
  expect(screen.getByText("mine")).toBeTruthy();
  await user.click(button("Replace"));
  await screen.findByText("recorded");
  expect(screen.queryByText("mine")).toBeNull();
});

test.each([
  [413, "Too large"],
  [503, "The server is full"],
  [401, "You are signed out"],
])("a file refused with %i says why and can be tried again", async (status, words) => {
  const user = userEvent.setup();
  server.routes.set(`POST ${PATH}`, (_request, response) => response.writeHead(status).end());
  await user.upload(screen.getByLabelText("Transcribe a file"), recording);
  expect((await screen.findByRole("alert")).textContent).toContain(words);
  server.routes.set(`POST ${PATH}`, (_request, response) => json(response, []));
  await user.click(button("Try again"));
  await screen.findByText("No speech was found in this recording.");
});

test("a file on its way can be called back", async () => {
  const user = userEvent.setup();
  let gone: Promise<void> | undefined;
  const arrived = new Promise<void>((resolve) => {
    server.routes.set(`POST ${PATH}`, (_request, response) => {
      gone = new Promise((closed) => response.on("close", closed));
      resolve();
    });
  });
  await user.upload(screen.getByLabelText("Transcribe a file"), recording);
  await arrived;
  await user.click(await screen.findByRole("button", { name: "Cancel" }));
  await waitFor(() => expect(screen.queryByText("talk.wav")).toBeNull());
  await gone;
});
