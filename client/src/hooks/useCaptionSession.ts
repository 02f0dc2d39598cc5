import { useSyncExternalStore } from "react";
import type { CaptionSession, SessionView } from "../captions/session";
import type { Item, Transcript } from "../captions/transcript";

export function useSessionView(session: CaptionSession): SessionView {
  return useSyncExternalStore(session.subscribe, () => session.view);
}

export function useItems(transcript: Transcript): readonly Item[] {
  return useSyncExternalStore(transcript.subscribe, () => transcript.items);
}

export function usePausing(transcript: Transcript): boolean {
  return useSyncExternalStore(transcript.subscribe, () => transcript.pausing);
}
