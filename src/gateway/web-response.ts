import type { ServerResponse } from 'node:http';
import { drained } from './drained.ts';

/** Writes a web `Response` to Node's, with backpressure, until it ends or the peer goes away. */
export const sendWebResponse = async (answer: Response, response: ServerResponse): Promise<void> => {
  response.writeHead(answer.status, [...answer.headers].flat());
  if (answer.body === null) {
    response.end();
    return;
  }
  response.flushHeaders();
  try {
    for await (const chunk of answer.body) {
      if (response.destroyed) break;
      if (!response.write(chunk)) await drained(response);
    }
  } finally {
    response.end();
  }
};
