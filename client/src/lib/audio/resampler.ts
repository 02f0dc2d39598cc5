/** Streaming sample-rate conversion by a windowed sinc, for browsers that won't open the microphone at 24 kHz. */

const ZERO_CROSSINGS = 16;

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

export class Resampler {
  /** Input samples per output sample = `#up / #down` reduced: output n sits at input n * #down / #up. */
  readonly #up: number;
  readonly #down: number;
  readonly #half: number;
  /** One filter per fraction of an input sample at which outputs can fall. */
  readonly #phases: Float32Array[];
  #input: Float32Array;
  /** Position of the next output, in units of 1/#up input samples, from the start of #input. */
  #next: number;

  constructor(from: number, to: number) {
    const common = gcd(from, to);
    this.#up = to / common;
    this.#down = from / common;
    const cutoff = Math.min(1, to / from);
    this.#half = Math.ceil(ZERO_CROSSINGS / cutoff);
    this.#phases = Array.from({ length: this.#up }, (_, p) => phase(p / this.#up, this.#half, cutoff));
    this.#input = new Float32Array(this.#half);
    this.#next = this.#half * this.#up;
  }

  /** Output lags by half a filter, about 0.7 ms at 48 kHz. */
  process(chunk: Float32Array): Float32Array<ArrayBuffer> {
    const input = new Float32Array(this.#input.length + chunk.length);
    input.set(this.#input);
    input.set(chunk, this.#input.length);
    const output: number[] = [];
    while (Math.floor(this.#next / this.#up) + this.#half < input.length) {
      const centre = Math.floor(this.#next / this.#up);
      const filter = this.#phases[this.#next % this.#up]!;
      const first = centre - this.#half + 1;
      let sum = 0;
      for (let i = 0; i < filter.length; i++) sum += filter[i]! * input[first + i]!;
      output.push(sum);
      this.#next += this.#down;
    }
    const done = Math.floor(this.#next / this.#up) - this.#half;
    this.#input = input.slice(done);
    this.#next -= done * this.#up;
    return Float32Array.from(output);
  }
}

/** Weights of input samples `-half+1 ..= half` around an output that falls `fraction` after sample 0. */
function phase(fraction: number, half: number, cutoff: number): Float32Array {
  const taps = Float32Array.from({ length: 2 * half }, (_, i) => {
    const x = i - half + 1 - fraction;
    const window = 0.5 + 0.5 * Math.cos((Math.PI * x) / half);
    const angle = Math.PI * x * cutoff;
    return window * (angle === 0 ? 1 : Math.sin(angle) / angle);
  });
  const sum = taps.reduce((a, b) => a + b, 0);
  return taps.map((tap) => tap / sum);
}
