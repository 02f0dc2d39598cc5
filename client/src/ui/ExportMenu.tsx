import { type KeyboardEvent, useEffect, useId, useRef, useState } from "react";
import { exportAs, type ExportFormat, toText } from "../captions/exports";
import type { CaptionSession } from "../captions/session";
import { useItems } from "../hooks/useCaptionSession";

const FORMATS: { format: ExportFormat; label: string }[] = [
  { format: "txt", label: "Text (.txt)" },
  { format: "srt", label: "Subtitles (.srt)" },
  { format: "vtt", label: "Web subtitles (.vtt)" },
  { format: "json", label: "Words with times (.json)" },
];

export function ExportMenu({ session }: { session: CaptionSession }) {
  const items = useItems(session.transcript);
  const [open, setOpen] = useState(false);
  const [done, setDone] = useState("");
  const id = useId();
  const root = useRef<HTMLDivElement>(null);
  const opener = useRef<HTMLButtonElement>(null);

  useEffect(() => {
    if (!open) return;
    const onPointer = (event: PointerEvent) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", onPointer);
    return () => document.removeEventListener("pointerdown", onPointer);
  }, [open]);

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || !open) return;
    setOpen(false);
    opener.current?.focus();
  };
  const copy = async () => {
    const copied = await navigator.clipboard.writeText(toText(items)).then(
      () => true,
      () => false,
    );
    setDone(copied ? "Copied" : "Copying isn’t allowed here");
  };
  useEffect(() => {
    const timer = done ? setTimeout(() => setDone(""), 2500) : undefined;
    return () => clearTimeout(timer);
  }, [done]);
  const download = (format: ExportFormat) => {
    const { text, type } = exportAs(format, items);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
    link.download = `captions-${new Date().toISOString().slice(0, 16).replace(/[T:]/g, "-")}.${format}`;
    link.click();
    URL.revokeObjectURL(link.href);
    setOpen(false);
  };

  const empty = items.length === 0;
  return (
    <div className="export" ref={root} onKeyDown={onKeyDown}>
      <button type="button" className="quiet" disabled={empty} onClick={() => void copy()}>
        {done || "Copy"}
      </button>
      <button
        type="button"
        className="quiet"
        disabled={empty}
        ref={opener}
        aria-expanded={open}
        aria-controls={id}
        onClick={() => setOpen(!open)}
      >
        Download
      </button>
      <button type="button" className="quiet" disabled={empty} onClick={() => session.clear()}>
        Clear
      </button>
      <span className="visually-hidden" role="status">
        {done}
      </span>
      {open && (
        <ul className="menu" id={id}>
          {FORMATS.map(({ format, label }) => (
            <li key={format}>
              <button type="button" onClick={() => download(format)}>
                {label}
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
