import { Fragment, type KeyboardEvent, memo, type MouseEvent, useEffect, useRef, useState } from "react";
import { gapText, shortClock } from "../captions/exports";
import type { CaptionSession, SessionView } from "../captions/session";
import type { Item, Phrase, Word } from "../captions/transcript";
import { useItems } from "../hooks/useCaptionSession";
import { EmptyState } from "./EmptyState";

/** Most phrases and gaps on the page at once, however long the session. */
export const MAX_SHOWN = 150;
/** Pauses shorter than this are not drawn. */
const DRAWN_PAUSE_SECONDS = 1;

interface CaptionsProps {
  session: CaptionSession;
  announce: boolean;
  size: number;
  view: SessionView;
  hint: string;
}

export function Captions({ session, announce, size, view, hint }: CaptionsProps) {
  const items = useItems(session.transcript);
  /** Index of the first item shown; with `null` the page follows the newest. */
  const [from, setFrom] = useState<number | null>(null);
  const [chosen, setChosen] = useState<number | null>(null);
  const newest = Math.max(0, items.length - MAX_SHOWN);
  const first = Math.min(from ?? newest, newest);
  const shown = items.slice(first, first + MAX_SHOWN);
  const scroller = useFollow(items, from === null);

  const words = shown.flatMap((item) => (item.kind === "phrase" ? item.words : []));
  const word = words.find((w) => w.id === chosen) ?? null;

  const onKeyDown = (event: KeyboardEvent) => {
    const at = words.findIndex((w) => w.id === chosen);
    const next = neighbour(event.key, at, words.length);
    if (next === null) return;
    event.preventDefault();
    setChosen(words[next]?.id ?? null);
  };
  const onClick = (event: MouseEvent) => {
    const id = event.target instanceof HTMLElement ? event.target.closest<HTMLElement>("[data-word]")?.dataset["word"] : undefined;
    setChosen(id === undefined ? null : Number(id));
  };

  // Only finished phrases are in the log: a screen reader would stumble over words that are still changing.
  const finished = shown.filter((item) => item.kind === "gap" || item.finished);
  const open = shown.at(-1);
  return (
    <div
      className="captions"
      role="region"
      aria-label="Captions. Use the arrow keys to step through the words."
      tabIndex={0}
      ref={scroller}
      style={{ fontSize: `${size}em` }}
      onKeyDown={onKeyDown}
      onClick={onClick}
    >
      {items.length === 0 && <EmptyState view={view} hint={hint} />}
      {first > 0 && (
        <button type="button" className="quiet page" onClick={() => setFrom(Math.max(0, first - MAX_SHOWN / 2))}>
          Earlier captions ({first})
        </button>
      )}
      <div role="log" aria-label="Finished phrases" aria-live={announce ? "polite" : "off"} aria-relevant="additions">
        {finished.map((item, i) => (
          <Line key={item.id} item={item} pause={pauseBefore(finished[i - 1], item)} chosen={inside(item, chosen)} />
        ))}
      </div>
      {open?.kind === "phrase" && !open.finished && (
        <div aria-live="off">
          <Line item={open} pause={pauseBefore(shown.at(-2), open)} chosen={inside(open, chosen)} />
        </div>
      )}
      {from !== null && (
        <button type="button" className="quiet page" onClick={() => setFrom(null)}>
          Back to the newest
        </button>
      )}
      <p className="chosen-time" role="status">
        {word && `“${word.text}” at ${wordTime(word)}`}
      </p>
    </div>
  );
}

/** Returns the chosen word's id if the word is in this item, so that the other lines need not be rendered again. */
function inside(item: Item, chosen: number | null): number | null {
  return item.kind === "phrase" && item.words.some((w) => w.id === chosen) ? chosen : null;
}

function neighbour(key: string, at: number, count: number): number | null {
  if (count === 0) return null;
  switch (key) {
    case "ArrowRight":
      return at < 0 ? count - 1 : Math.min(count - 1, at + 1);
    case "ArrowLeft":
      return at < 0 ? count - 1 : Math.max(0, at - 1);
    case "Escape":
      return count;
    default:
      return null;
  }
}

function wordTime({ start, stop }: Word): string {
  const exact = (seconds: number) => {
    const tenths = Math.round(seconds * 10);
    return `${shortClock(tenths / 10)}.${tenths % 10}`;
  };
  return stop === null ? exact(start) : `${exact(start)} to ${exact(stop)}`;
}

function pauseBefore(previous: Item | undefined, item: Item): number {
  if (previous?.kind !== "phrase" || item.kind !== "phrase") return 0;
  const last = previous.words.at(-1);
  const next = item.words[0];
  return last && next ? next.start - (last.stop ?? last.start) : 0;
}

const Line = memo(function Line({ item, pause, chosen }: { item: Item; pause: number; chosen: number | null }) {
  if (item.kind === "gap") return <p className={item.missing > 0 ? "gap lost" : "gap"}>{gapText(item.missing)}</p>;
  return (
    <>
      {pause >= DRAWN_PAUSE_SECONDS && (
        <p className="pause" aria-hidden="true">
          {pause.toFixed(1)} s
        </p>
      )}
      <PhraseLine phrase={item} chosen={chosen} />
    </>
  );
});

function PhraseLine({ phrase, chosen }: { phrase: Phrase; chosen: number | null }) {
  return (
    <p className={phrase.finished ? "phrase" : "phrase open"}>
      <time aria-hidden="true">{shortClock(phrase.words[0]?.start ?? 0)}</time>
      <span>
        {phrase.words.map((word) => (
          <Fragment key={word.id}>
            <span data-word={word.id} className={wordClass(word, word.id === chosen)}>
              {word.text}
            </span>{" "}
          </Fragment>
        ))}
      </span>
    </p>
  );
}

function wordClass(word: Word, chosen: boolean): string {
  return `word${word.stop === null ? " pending" : ""}${chosen ? " chosen" : ""}`;
}

/** Keeps the newest line in view, unless the reader has scrolled away from it. */
function useFollow(items: readonly Item[], follow: boolean) {
  const ref = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  useEffect(() => {
    const element = ref.current;
    const onScroll = () => {
      if (element) atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < 80;
    };
    element?.addEventListener("scroll", onScroll, { passive: true });
    return () => element?.removeEventListener("scroll", onScroll);
  }, []);
  useEffect(() => {
    const element = ref.current;
    if (element && follow && atEnd.current) element.scrollTop = element.scrollHeight;
  }, [items, follow]);
  return ref;
}
