import type { ServerResponse } from 'node:http';

/** What is written within this turn of the event loop leaves as one TLS record, with one system call. */
export const gather = ({ socket }: ServerResponse): void => {
  if (socket === null || socket.writableCorked > 0) return;
  socket.cork();
  setImmediate(() => socket.uncork());
};
