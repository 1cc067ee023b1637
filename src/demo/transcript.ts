/** What the demo shows and what it observed: each promise is a line that came true or did not. */

export interface Outcome {
  readonly promise: string;
  readonly observed: string;
  readonly held: boolean;
}

export interface TranscriptSink {
  heading(text: string): void;
  line(text: string): void;
  outcome(outcome: Outcome): void;
}

export class Transcript {
  readonly #sink: TranscriptSink;
  readonly outcomes: Outcome[] = [];

  constructor(sink: TranscriptSink) {
    this.#sink = sink;
  }

  heading(text: string): void {
    this.#sink.heading(text);
  }

  say(text: string): void {
    this.#sink.line(text);
  }

  /** Records whether what was promised was seen. The demo goes on, and fails at its end. */
  expect(promise: string, held: boolean, observed: string): void {
    const outcome = { promise, observed, held };
    this.outcomes.push(outcome);
    this.#sink.outcome(outcome);
  }

  get allHeld(): boolean {
    return this.outcomes.length > 0 && this.outcomes.every(({ held }) => held);
  }
}
