/** Transcription of a whole recording in one request. */
import { type Credential, requestInit } from "./credentials";
import { failureFromStatus, MoshiError } from "./failure";
import { readTranscriptionMessage } from "./transcription-messages";

export interface TimedWord {
  text: string;
  /** Seconds from the start of the file. */
  start: number;
  stop: number | null;
}

export interface FileOptions {
  /** Called with 0 to 1 while the file is sent, and with `null` while the server works on it. */
  onProgress?: (sent: number | null) => void;
  signal?: AbortSignal;
}

/** Sends the file as it is: the server reads wav, flac, mp3, ogg and m4a at any sample rate. Rejects with a `MoshiError`. */
export function transcribeFile(url: URL, file: Blob, credential: Credential, options: FileOptions = {}): Promise<TimedWord[]> {
  const { onProgress, signal } = options;
  // `fetch` doesn't report the progress of an upload.
  const request = new XMLHttpRequest();
  return new Promise<TimedWord[]>((resolve, reject) => {
    const { headers, credentials } = requestInit(credential);
    request.open("POST", url);
    request.withCredentials = credentials === "include";
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (e) => onProgress?.(e.lengthComputable ? e.loaded / e.total : null);
    request.upload.onload = () => onProgress?.(null);
    request.onerror = () => reject(new MoshiError("unreachable", "the server can't be reached"));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    request.onload = () => {
      const failure = failureFromStatus(request.status, request.getResponseHeader("retry-after"));
      if (failure) return reject(failure);
      try {
        resolve(readWords(JSON.parse(request.responseText)));
      } catch (error) {
        reject(error instanceof MoshiError ? error : new MoshiError("protocol", "the transcript could not be read"));
      }
    };
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(file);
  });
}

/** Joins the `Word` and `EndWord` objects of the answer, which come in order. */
export function readWords(body: unknown): TimedWord[] {
  if (!Array.isArray(body)) throw new MoshiError("protocol", "the transcript is not a list");
  const words: TimedWord[] = [];
  for (const value of body) {
    const message = readTranscriptionMessage(value);
    if (message?.type === "Word") words.push({ text: message.text, start: message.start_time, stop: null });
    const last = words.at(-1);
    if (message?.type === "EndWord" && last) last.stop = message.stop_time;
    if (message?.type === "Error") throw new MoshiError("engine", message.message);
  }
  return words;
}
