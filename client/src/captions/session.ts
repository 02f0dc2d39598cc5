/** Live captions for one person: microphone, transcription and transcript as one object, independent of any view. */
import { LevelHistory, loudness } from "../lib/audio/level";
import { type InputDevice, inputDevices, Microphone, watchDevices } from "../lib/audio/microphone";
import {
  bestEncoder,
  type ConnectionState,
  type CredentialProvider,
  SAMPLE_RATE,
  type TimedWord,
  Transcription,
  type TranscriptionEvent,
} from "../lib/moshi";
import { type Problem, problemOf } from "./problems";
import { Transcript } from "./transcript";
import { keepAwake } from "./wake-lock";

export interface SessionView {
  /** `checking`: the microphone is open for the level meter only. */
  phase: "idle" | "checking" | "starting" | "running" | "stopping";
  connection: ConnectionState;
  queuePosition: number | null;
  /** Seconds from speech to its words. */
  delay: number | null;
  /** Time of the next connection attempt, in ms of `Date.now()`. */
  retryAt: number | null;
  draining: boolean;
  muted: boolean;
  problem: Problem | null;
  /** Something worth knowing that does not stop the recording. */
  notice: string | null;
  devices: readonly InputDevice[];
  deviceId: string;
}

const IDLE: SessionView = {
  phase: "idle",
  connection: "closed",
  queuePosition: null,
  delay: null,
  retryAt: null,
  draining: false,
  muted: false,
  problem: null,
  notice: null,
  devices: [],
  deviceId: "",
};

/** Chunks of 20 ms that the meter shows: the last twelve seconds. */
const METER_CHUNKS = 600;

export class CaptionSession {
  readonly transcript = new Transcript();
  readonly levels = new LevelHistory(METER_CHUNKS);
  readonly #url: URL;
  readonly #credentials: CredentialProvider;
  #view: SessionView = IDLE;
  readonly #listeners = new Set<() => void>();
  #microphone: Microphone | null = null;
  #transcription: Transcription | null = null;
  /** Counts starts and stops: a slow one sees by it that a later one has taken over. */
  #turn = 0;
  /** Seconds of earlier recordings in this transcript. */
  #offset = 0;
  #samples = 0;
  readonly #stopWatching: () => void;

  constructor(url: URL, credentials: CredentialProvider) {
    this.#url = url;
    this.#credentials = credentials;
    const unwatch = watchDevices(() => void this.#refreshDevices());
    const retry = () => this.retryNow();
    window.addEventListener("online", retry);
    this.#stopWatching = () => {
      unwatch();
      window.removeEventListener("online", retry);
    };
    void this.#refreshDevices();
  }

  get view(): SessionView {
    return this.#view;
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  async start(): Promise<void> {
    if (this.#view.phase !== "idle" && this.#view.phase !== "checking") return;
    const turn = ++this.#turn;
    this.#update({ phase: "starting", problem: null, notice: null });
    // The microphone first: the user may take long to allow it, and should not occupy a place on the server meanwhile.
    if (!(await this.#openMicrophone(turn))) return;
    const encoder = await bestEncoder();
    if (turn !== this.#turn) return;
    this.#samples = 0;
    const transcription = new Transcription({ url: this.#url, credentials: this.#credentials, encoder });
    this.#transcription = transcription;
    this.#update({ phase: "running", connection: "connecting" });
    const releaseScreen = keepAwake();
    for await (const event of transcription) this.#onEvent(event);
    releaseScreen();
    // The transcription has ended. If it failed, the microphone is still open.
    if (this.#transcription === transcription) this.#close();
  }

  /** Ends the recording and waits for the last words. */
  stop(): void {
    this.#turn += 1;
    this.#closeMicrophone();
    if (!this.#transcription) return this.#update({ phase: "idle" });
    this.#update({ phase: "stopping" });
    this.#transcription.finish();
  }

  /** Opens the microphone for the level meter only, or closes it again. */
  async toggleCheck(): Promise<void> {
    if (this.#view.phase === "checking") return this.stop();
    if (this.#view.phase !== "idle") return;
    const turn = ++this.#turn;
    this.#update({ phase: "checking", problem: null, notice: null });
    await this.#openMicrophone(turn);
  }

  setMuted(muted: boolean): void {
    if (this.#microphone) this.#microphone.muted = muted;
    this.#update({ muted });
  }

  async chooseDevice(deviceId: string): Promise<void> {
    this.#update({ deviceId, notice: null });
    if (this.#microphone) await this.#openMicrophone(this.#turn);
  }

  retryNow(): void {
    this.#transcription?.retryNow();
  }

  dismiss(): void {
    this.#update({ problem: null, notice: null });
  }

  clear(): void {
    this.transcript.clear();
    if (this.#view.phase === "idle") this.#offset = 0;
  }

  /** Replaces the transcript with that of a recording. */
  showRecording(words: readonly TimedWord[]): void {
    this.clear();
    for (const { text, start, stop } of words) {
      this.transcript.addWord(text, start);
      if (stop !== null) this.transcript.endWord(stop);
    }
    this.transcript.finish();
    const last = words.at(-1);
    this.#offset = last ? (last.stop ?? last.start) : 0;
  }

  /** Ends everything. The session cannot be used again. */
  dispose(): void {
    this.#turn += 1;
    this.#stopWatching();
    this.#transcription?.close();
    this.#close();
  }

  async #openMicrophone(turn: number): Promise<boolean> {
    this.#closeMicrophone();
    try {
      const microphone = await Microphone.open(this.#view.deviceId, {
        onChunk: (pcm) => this.#onChunk(pcm),
        onEnded: () => void this.#onUnplugged(),
      });
      if (turn !== this.#turn) {
        microphone.close();
        return false;
      }
      this.#microphone = microphone;
      microphone.muted = this.#view.muted;
      await this.#refreshDevices();
      return turn === this.#turn;
    } catch (error) {
      if (turn !== this.#turn) return false;
      this.#turn += 1;
      this.#transcription?.finish();
      this.#update({ phase: this.#transcription ? "stopping" : "idle", problem: problemOf(error) });
      return false;
    }
  }

  #closeMicrophone(): void {
    this.#microphone?.close();
    this.#microphone = null;
    this.levels.clear();
  }

  /** Continues with the system's default microphone, if there is one. */
  async #onUnplugged(): Promise<void> {
    this.#microphone = null;
    this.#update({ deviceId: "", notice: "Your microphone was unplugged. Continuing with the default one." });
    await this.#openMicrophone(this.#turn);
  }

  async #refreshDevices(): Promise<void> {
    const devices = await inputDevices();
    const known = devices.some((device) => device.id === this.#view.deviceId);
    this.#update({ devices, deviceId: known ? this.#view.deviceId : "" });
  }

  #onChunk(pcm: Float32Array): void {
    this.levels.push(this.#view.muted ? 0 : loudness(pcm));
    if (!this.#transcription) return;
    this.#samples += pcm.length;
    this.#transcription.send(pcm);
  }

  #onEvent(event: TranscriptionEvent): void {
    switch (event.type) {
      case "state":
        return this.#onState(event);
      case "queued":
        return this.#update({ queuePosition: event.position });
      case "word":
        return this.transcript.addWord(event.text, this.#offset + event.start);
      case "wordEnd":
        return this.transcript.endWord(this.#offset + event.stop);
      case "step":
        return this.transcript.step(this.#offset + event.time, event.pauses);
      case "confirmed":
        this.transcript.confirm(this.#offset + event.time);
        return this.#update({ delay: event.seconds });
      case "draining":
        return this.#update({ draining: true });
      case "resumed":
        return this.transcript.resume(this.#offset + event.from, event.missing);
      case "failed":
        return this.#update({ problem: problemOf(event.error) });
    }
  }

  #onState(event: Extract<TranscriptionEvent, { type: "state" }>): void {
    if (event.state === "waiting") {
      const retryAt = Date.now() + event.retryIn * 1000;
      return this.#update({ connection: "waiting", retryAt, delay: null, queuePosition: null, problem: problemOf(event.error) });
    }
    const live = event.state === "live";
    this.#update({
      connection: event.state,
      retryAt: null,
      queuePosition: event.state === "queued" ? this.#view.queuePosition : null,
      ...(live ? { problem: null, draining: false } : {}),
    });
  }

  #close(): void {
    this.#closeMicrophone();
    this.#transcription = null;
    this.#offset += this.#samples / SAMPLE_RATE;
    this.#samples = 0;
    this.transcript.finish();
    const { devices, deviceId, muted, problem, notice } = this.#view;
    this.#update({ ...IDLE, devices, deviceId, muted, problem, notice });
  }

  #update(change: Partial<SessionView>): void {
    this.#view = { ...this.#view, ...change };
    for (const listener of this.#listeners) listener();
  }
}

