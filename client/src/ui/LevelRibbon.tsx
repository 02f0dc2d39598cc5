import { useEffect, useRef, useState } from "react";
import type { LevelHistory } from "../lib/audio/level";

/** Chunks of 20 ms that are drawn as one bar. */
const CHUNKS_PER_BAR = 3;
const BAR_PIXELS = 3;
const STEP_PIXELS = 5;

/** The level meter: the last seconds of sound as bars, the newest at the right. */
export function LevelRibbon({ levels, active }: { levels: LevelHistory; active: boolean }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    if (!active) return draw(element, levels, false);
    let frame = 0;
    let drawn = -1;
    const still = window.matchMedia("(prefers-reduced-motion: reduce)");
    const loop = () => {
      frame = requestAnimationFrame(loop);
      // Draws when the next bar is complete. With reduced motion nothing scrolls: one bar shows the current level.
      const bar = Math.floor(levels.count / CHUNKS_PER_BAR);
      if (bar === drawn) return;
      drawn = bar;
      draw(element, levels, still.matches);
    };
    loop();
    return () => cancelAnimationFrame(frame);
  }, [levels, active]);
  return (
    <div className="ribbon">
      <canvas ref={canvas} aria-hidden="true" />
      {active && <Meter levels={levels} />}
    </div>
  );
}

/** The level for screen readers. It changes seldom enough to be read out. */
function Meter({ levels }: { levels: LevelHistory }) {
  const [level, setLevel] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setLevel(Math.round(levels.latest * 10) * 10), 500);
    return () => clearInterval(timer);
  }, [levels]);
  return <div className="visually-hidden" role="meter" aria-label="Microphone level" aria-valuenow={level} aria-valuemin={0} aria-valuemax={100} />;
}

function draw(canvas: HTMLCanvasElement, levels: LevelHistory, still: boolean): void {
  const context = canvas.getContext("2d");
  if (!context) return;
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  context.scale(scale, scale);
  const style = getComputedStyle(canvas);
  context.fillStyle = style.color;
  if (still) {
    context.fillRect(0, height / 2 - 3, width * levels.latest, 6);
    return;
  }
  const offset = levels.count % CHUNKS_PER_BAR;
  for (let bar = 0; bar * STEP_PIXELS < width; bar++) {
    let level = 0;
    for (let i = 0; i < CHUNKS_PER_BAR; i++) level = Math.max(level, levels.at(bar * CHUNKS_PER_BAR + offset + i));
    const tall = Math.max(2, level * level * height);
    context.globalAlpha = level > 0 ? 0.35 + 0.65 * (1 - (bar * STEP_PIXELS) / width) : 0.25;
    context.beginPath();
    context.roundRect(width - (bar + 1) * STEP_PIXELS, (height - tall) / 2, BAR_PIXELS, tall, BAR_PIXELS / 2);
    context.fill();
  }
}
