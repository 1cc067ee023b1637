import type { ServerResponse } from 'node:http';

/** Resolves when more may be written, or when there is nobody left to write to. Leaves no listener behind. */
export const drained = (response: ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    if (response.destroyed || !response.writableNeedDrain) {
      resolve();
      return;
    }
    const done = (): void => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.on('drain', done).on('close', done);
  });
