import { SAMPLE_RATE } from "../moshi";
import workletUrl from "./capture-worklet.js?url&no-inline";
import { Resampler } from "./resampler";

export type MicrophoneFailure = "insecure" | "refused" | "missing" | "busy" | "unknown";

export class MicrophoneError extends Error {
  constructor(readonly kind: MicrophoneFailure) {
    super(`microphone: ${kind}`);
    this.name = "MicrophoneError";
  }
}

export interface InputDevice {
  id: string;
  label: string;
}

export interface MicrophoneHandler {
  /** 20 ms of mono 24 kHz samples in [-1, 1]. */
  onChunk(pcm: Float32Array): void;
  /** The device was unplugged or taken away. */
  onEnded(): void;
}

export class Microphone {
  readonly #stream: MediaStream;
  readonly #context: AudioContext;

  private constructor(stream: MediaStream, context: AudioContext) {
    this.#stream = stream;
    this.#context = context;
  }

  /** Opens a device; `deviceId` "" is the system's default. Rejects with a `MicrophoneError`. */
  static async open(deviceId: string, handler: MicrophoneHandler): Promise<Microphone> {
    const stream = await request(deviceId);
    let context: AudioContext | null = null;
    try {
      const source = sourceAt24k(stream) ?? sourceAtNativeRate(stream);
      context = source.context as AudioContext;
      await context.audioWorklet.addModule(workletUrl);
      const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
      const resampler = context.sampleRate === SAMPLE_RATE ? null : new Resampler(context.sampleRate, SAMPLE_RATE);
      node.port.onmessage = ({ data }: MessageEvent<Float32Array>) => handler.onChunk(resampler?.process(data) ?? data);
      source.connect(node);
      await context.resume();
      for (const track of stream.getAudioTracks()) track.onended = () => handler.onEnded();
      return new Microphone(stream, context);
    } catch (error) {
      for (const track of stream.getTracks()) track.stop();
      void context?.close();
      throw error instanceof MicrophoneError ? error : new MicrophoneError("unknown");
    }
  }

  /** A muted microphone keeps sending silence, so that the words spoken before still come. */
  set muted(muted: boolean) {
    for (const track of this.#stream.getAudioTracks()) track.enabled = !muted;
  }

  close(): void {
    for (const track of this.#stream.getAudioTracks()) {
      track.onended = null;
      track.stop();
    }
    void this.#context.close();
  }
}

async function request(deviceId: string): Promise<MediaStream> {
  // Browsers hide `mediaDevices` from pages loaded over plain http from another machine.
  if (!navigator.mediaDevices) throw new MicrophoneError(window.isSecureContext ? "missing" : "insecure");
  const audio: MediaTrackConstraints = {
    channelCount: 1,
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
    ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
  };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw new MicrophoneError(failureOf(error));
  }
}

function failureOf(error: unknown): MicrophoneFailure {
  switch (error instanceof DOMException ? error.name : "") {
    case "NotAllowedError":
    case "SecurityError":
      return "refused";
    case "NotFoundError":
    case "OverconstrainedError":
      return "missing";
    case "NotReadableError":
    case "AbortError":
      return "busy";
    default:
      return "unknown";
  }
}

/** Returns `null` if the browser doesn't convert between the microphone's rate and the context's. */
function sourceAt24k(stream: MediaStream): MediaStreamAudioSourceNode | null {
  const context = new AudioContext({ sampleRate: SAMPLE_RATE, latencyHint: "interactive" });
  try {
    return context.createMediaStreamSource(stream);
  } catch {
    void context.close();
    return null;
  }
}

function sourceAtNativeRate(stream: MediaStream): MediaStreamAudioSourceNode {
  return new AudioContext({ latencyHint: "interactive" }).createMediaStreamSource(stream);
}

/** Lists the microphones. Browsers give them no labels until the user has allowed one. */
export async function inputDevices(): Promise<InputDevice[]> {
  if (!navigator.mediaDevices) return [];
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices
    .filter((d) => d.kind === "audioinput" && d.deviceId !== "" && d.deviceId !== "default" && d.deviceId !== "communications")
    .map((d, i) => ({ id: d.deviceId, label: d.label || `Microphone ${i + 1}` }));
}

/** Calls back when a device is plugged in or out. Returns a function that stops this. */
export function watchDevices(onChange: () => void): () => void {
  if (!navigator.mediaDevices) return () => undefined;
  navigator.mediaDevices.addEventListener("devicechange", onChange);
  return () => navigator.mediaDevices.removeEventListener("devicechange", onChange);
}
