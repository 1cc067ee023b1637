/** Hands values from one loop to another, one at a time: who puts waits until the one before was taken. */
export class Channel<T> implements AsyncIterable<T> {
  #value: { readonly value: T } | undefined;
  #ended = false;
  #wake: (() => void) | undefined;
  #taken: (() => void) | undefined;
  #closed = false;

  async put(value: T): Promise<void> {
    // Nobody reads any more: what reads on has said what it had to say.
    if (this.#closed) return;
    this.#value = { value };
    await new Promise<void>((resolve) => {
      this.#taken = resolve;
      this.#wake?.();
    });
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    try {
      for (;;) {
        if (this.#value === undefined) {
          if (this.#ended) return;
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
          continue;
        }
        yield this.#value.value;
        this.#value = undefined;
        this.#taken?.();
      }
    } finally {
      this.#closed = true;
      this.#taken?.();
    }
  }
}
