/** The captions of one person: they outlive a lost sign-in, but nobody else may see them. */
import type { CaptionSession } from "./session";

export interface Owned {
  owner: string;
  session: CaptionSession;
}

export class OwnedSession {
  readonly #create: () => CaptionSession;
  readonly #listeners = new Set<() => void>();
  #owned: Owned | null = null;

  /** `create` makes the session of a person who has none yet. */
  constructor(create: () => CaptionSession) {
    this.#create = create;
  }

  get current(): Owned | null {
    return this.#owned;
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Keeps the session if it is `owner`'s; ends it and makes a new one otherwise. */
  giveTo(owner: string): void {
    if (this.#owned?.owner !== owner) this.#replace({ owner, session: this.#create() });
  }

  /** Ends the session, and forgets its captions. */
  clear(): void {
    this.#replace(null);
  }

  #replace(next: Owned | null): void {
    this.#owned?.session.dispose();
    this.#owned = next;
    for (const listener of this.#listeners) listener();
  }
}
