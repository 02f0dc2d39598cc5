/** Client library for moshi-server: live transcriptions and whole files, in any browser. Uses nothing of the app. */
export type { BackoffOptions } from "./backoff";
export type { ConnectionOptions } from "./connection";
export type { Credential, CredentialProvider, Renewal } from "./credentials";
export { bestEncoder, type EncoderFactory, type FrameEncoder, type FrameSink, pcm16Encoder } from "./encoder";
export type { ConnectionEvent, ConnectionState } from "./events";
export { type FailureKind, MoshiError } from "./failure";
export { type FileOptions, type TimedWord, transcribeFile } from "./file";
export { SAMPLE_RATE } from "./messages";
export { tokenSeconds } from "./renewal";
export { Transcription, type TranscriptionEvent, type TranscriptionOptions } from "./transcription";
