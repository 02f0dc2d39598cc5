import { useEffect, useId, useRef, useState } from "react";
import { fileProblemOf, type Problem } from "../captions/problems";
import type { CaptionSession, SessionView } from "../captions/session";
import { useItems } from "../hooks/useCaptionSession";
import { type CredentialProvider, transcribeFile } from "../lib/moshi";

interface FilePanelProps {
  session: CaptionSession;
  view: SessionView;
  url: URL;
  credentials: CredentialProvider;
}

type Job =
  | { step: "confirm"; file: File }
  /** `sent`: 0 to 1 while uploading, `null` while the server works. */
  | { step: "running"; file: File; sent: number | null; abort: AbortController }
  | { step: "failed"; file: File; problem: Problem }
  | { step: "empty"; file: File };

/** Transcribes a recording that was chosen or dropped on the page. */
export function FilePanel({ session, view, url, credentials }: FilePanelProps) {
  const hasCaptions = useItems(session.transcript).length > 0;
  const [job, setJob] = useState<Job | null>(null);
  const idle = view.phase === "idle" && job?.step !== "running";

  const run = async (file: File) => {
    const abort = new AbortController();
    const show = (sent: number | null) => setJob({ step: "running", file, sent, abort });
    show(0);
    try {
      const credential = await credentials({ refresh: false });
      const words = await transcribeFile(url, file, credential, { onProgress: show, signal: abort.signal });
      if (words.length === 0) return setJob({ step: "empty", file });
      session.showRecording(words);
      setJob(null);
    } catch (error) {
      setJob(abort.signal.aborted ? null : { step: "failed", file, problem: fileProblemOf(error) });
    }
  };
  const take = (file: File) => (hasCaptions ? setJob({ step: "confirm", file }) : void run(file));
  const hovering = useFileDrop(idle ? take : null);

  return (
    <>
      {hovering && (
        <div className="drop-target" aria-hidden="true">
          <p>Drop to transcribe</p>
        </div>
      )}
      {idle && <FileButton onFile={take} />}
      {job && <JobCard job={job} onRun={(file) => void run(file)} onClose={() => setJob(null)} />}
    </>
  );
}

function FileButton({ onFile }: { onFile: (file: File) => void }) {
  const id = useId();
  return (
    <p className="file-button">
      <input
        id={id}
        className="visually-hidden"
        type="file"
        accept="audio/*,video/mp4,.opus,.flac,.ogg,.m4a"
        onChange={(event) => {
          const file = event.target.files?.[0];
          event.target.value = "";
          if (file) onFile(file);
        }}
      />
      <label htmlFor={id}>Transcribe a file</label>
    </p>
  );
}

function JobCard({ job, onRun, onClose }: { job: Job; onRun: (file: File) => void; onClose: () => void }) {
  return (
    <div className="job" role={job.step === "failed" ? "alert" : "group"} aria-label={job.file.name}>
      <div className="job-text">
        <strong>{job.file.name}</strong>
        {job.step === "confirm" && <p>This replaces the captions on this page.</p>}
        {job.step === "running" && <p role="status">{job.sent === null ? "Transcribing…" : "Uploading…"}</p>}
        {job.step === "failed" && (
          <p>
            {job.problem.title}. {job.problem.help}
          </p>
        )}
        {job.step === "empty" && <p role="status">No speech was found in this recording.</p>}
        {job.step === "running" && <progress aria-label="Progress" max={1} {...(job.sent === null ? {} : { value: job.sent })} />}
      </div>
      <div className="problem-actions">
        {job.step === "confirm" && (
          <button type="button" onClick={() => onRun(job.file)}>
            Replace
          </button>
        )}
        {job.step === "failed" && (
          <button type="button" onClick={() => onRun(job.file)}>
            Try again
          </button>
        )}
        <button type="button" className="quiet" onClick={() => (job.step === "running" ? job.abort.abort() : onClose())}>
          {job.step === "running" || job.step === "confirm" ? "Cancel" : "Close"}
        </button>
      </div>
    </div>
  );
}

/** Accepts files dropped anywhere on the page (with `null`, none). Returns whether a file is being dragged over it. */
function useFileDrop(onFile: ((file: File) => void) | null): boolean {
  const [hovering, setHovering] = useState(false);
  const handler = useRef(onFile);
  useEffect(() => {
    handler.current = onFile;
  }, [onFile]);
  useEffect(() => {
    const hasFile = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const onOver = (event: DragEvent) => {
      if (!hasFile(event)) return;
      // Without this the browser would leave the page to play the file.
      event.preventDefault();
      setHovering(handler.current !== null);
    };
    const onLeave = (event: DragEvent) => {
      if (event.relatedTarget === null) setHovering(false);
    };
    const onDrop = (event: DragEvent) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      setHovering(false);
      const file = event.dataTransfer?.files[0];
      if (file) handler.current?.(file);
    };
    document.addEventListener("dragover", onOver);
    document.addEventListener("dragleave", onLeave);
    document.addEventListener("drop", onDrop);
    return () => {
      document.removeEventListener("dragover", onOver);
      document.removeEventListener("dragleave", onLeave);
      document.removeEventListener("drop", onDrop);
    };
  }, []);
  return hovering;
}
