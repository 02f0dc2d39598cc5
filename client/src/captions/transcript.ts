/**
 * The transcript, as phrases. The model never revises a word. A phrase ends at a pause, at the end of a long enough
 * sentence, or when it grows too long; only then is it announced to screen readers.
 */

export interface Word {
  readonly id: number;
  readonly text: string;
  /** Seconds since the session began. */
  readonly start: number;
  /** `null` while the word is pending: the model has not found its end yet. */
  readonly stop: number | null;
}

export interface Phrase {
  readonly kind: "phrase";
  readonly id: number;
  readonly words: readonly Word[];
  readonly finished: boolean;
}

/** A place where the connection was lost. `missing`: seconds of audio that are lost; 0 if everything was sent again. */
export interface Gap {
  readonly kind: "gap";
  readonly id: number;
  readonly at: number;
  readonly missing: number;
}

export type Item = Phrase | Gap;

/** Above `PAUSE`, a pause probability means that the speaker has stopped; below `SPEECH`, that they speak again. */
const PAUSE = 0.6;
const SPEECH = 0.4;
/** Index of the model's head that predicts pauses of about two seconds. The heads before it predict shorter ones. */
const PAUSE_HEAD = 2;
/** Words come later than the audio by the model's delay: how long to wait for those spoken before a pause. */
const TAIL_SECONDS = 1.5;
/** Silence between words that ends a phrase where the model has no pause heads. */
const SILENCE_SECONDS = 1.2;
/** Audio without a new word that ends the phrase, whatever the pause heads say. */
const IDLE_SECONDS = 4;
const SENTENCE_WORDS = 6;
const MAX_WORDS = 40;

export class Transcript {
  #items: readonly Item[] = [];
  #nextId = 0;
  #pausing = false;
  #pauseAt: number | null = null;
  #listeners = new Set<() => void>();

  /** A new array after every change; unchanged items stay the same objects. */
  get items(): readonly Item[] {
    return this.#items;
  }

  /** Whether the model currently detects a pause. */
  get pausing(): boolean {
    return this.#pausing;
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  addWord(text: string, start: number): void {
    if (text === "") return;
    const open = this.#open;
    const last = open?.words.at(-1);
    if (open && last && this.#endsBefore(start, last)) this.#finish();
    const word: Word = { id: this.#nextId++, text, start, stop: null };
    const phrase = this.#open;
    if (phrase) this.#replaceLast({ ...phrase, words: [...settled(phrase.words, start), word] });
    else this.#append({ kind: "phrase", id: this.#nextId++, words: [word], finished: false });
    this.#changed();
  }

  /** Sets the end of the last word. */
  endWord(stop: number): void {
    const phrase = this.#items.at(-1);
    if (phrase?.kind !== "phrase" || phrase.words.at(-1)?.stop !== null) return;
    this.#replaceLast({ ...phrase, words: settled(phrase.words, stop) });
    const words = this.#open?.words ?? [];
    const sentence = words.length >= SENTENCE_WORDS && /[.!?…。？！]$/.test(words.at(-1)?.text ?? "");
    if (sentence || words.length >= MAX_WORDS) this.#finish();
    this.#changed();
  }

  /** Takes one processed frame. `time`: seconds of audio processed so far; `pauses`: the model's pause probabilities. */
  step(time: number, pauses: readonly number[]): void {
    const probability = pauses[Math.min(PAUSE_HEAD, pauses.length - 1)];
    if (probability === undefined) return;
    if (!this.#pausing && probability > PAUSE) {
      this.#pausing = true;
      this.#pauseAt = time;
      this.#changed();
    } else if (this.#pausing && probability < SPEECH) {
      this.#pausing = false;
      this.#changed();
    }
    if (this.#pauseAt !== null && time > this.#pauseAt + TAIL_SECONDS) {
      this.#pauseAt = null;
      this.#finish();
      this.#changed();
    }
  }

  /** Takes note that everything before `time` has been transcribed. */
  confirm(time: number): void {
    const last = this.#open?.words.at(-1);
    if (!last || time < last.start + IDLE_SECONDS) return;
    this.#finish();
    this.#changed();
  }

  /** Drops the words after `from`: they come again on a new connection. */
  resume(from: number, missing: number): void {
    this.#items = this.#items.flatMap((item): Item[] => {
      if (item.kind === "gap") return [item];
      const words = item.words.filter((word) => word.start < from);
      return words.length === item.words.length ? [item] : words.length === 0 ? [] : [{ ...item, words }];
    });
    this.#finish();
    this.#append({ kind: "gap", id: this.#nextId++, at: from, missing });
    this.#pauseAt = null;
    this.#changed();
  }

  /** Ends the session: no word is pending any more. */
  finish(): void {
    this.#pausing = false;
    this.#pauseAt = null;
    this.#finish();
    this.#changed();
  }

  clear(): void {
    this.#items = [];
    this.#pauseAt = null;
    this.#changed();
  }

  get #open(): Phrase | null {
    const last = this.#items.at(-1);
    return last?.kind === "phrase" && !last.finished ? last : null;
  }

  /** Whether a word at `start` begins a new phrase. */
  #endsBefore(start: number, last: Word): boolean {
    if (this.#pauseAt !== null && start >= this.#pauseAt) {
      this.#pauseAt = null;
      return true;
    }
    return start - (last.stop ?? last.start) > SILENCE_SECONDS;
  }

  #finish(): void {
    const phrase = this.#open;
    const last = phrase?.words.at(-1);
    if (phrase && last) this.#replaceLast({ ...phrase, words: settled(phrase.words, last.stop ?? last.start), finished: true });
  }

  #append(item: Item): void {
    this.#items = [...this.#items, item];
  }

  #replaceLast(item: Item): void {
    this.#items = [...this.#items.slice(0, -1), item];
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** Returns the words with none pending: a last word without an end gets `stop`. */
function settled(words: readonly Word[], stop: number): readonly Word[] {
  const last = words.at(-1);
  if (!last || last.stop !== null) return words;
  return [...words.slice(0, -1), { ...last, stop: Math.max(stop, last.start) }];
}

export function phraseText(phrase: Phrase): string {
  return phrase.words.map((word) => word.text).join(" ");
}
