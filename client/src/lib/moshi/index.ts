/** Client library for moshi-server: live streams and whole files, in any browser. Uses nothing of the app. */
export { type Credential, type CredentialProvider, type Renewal } from "./credentials";
export { bestEncoder, type EncoderFactory, pcm16Encoder } from "./encoder";
export { type StreamEvent, type StreamState } from "./events";
export { type FailureKind, MoshiError } from "./failure";
export { type TimedWord, transcribeFile } from "./file";
export { SAMPLE_RATE } from "./messages";
export { tokenSeconds } from "./renewal";
export { MoshiStream, type StreamOptions } from "./stream";
