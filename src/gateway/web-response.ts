import type { ServerResponse } from 'node:http';
import { drained } from './drained.ts';

/** Of an answer whose length is known; it goes out in one piece with its head. */
const smallOctets = 65_536;

/** Writes a web `Response` to Node's, with backpressure, until it ends or the peer goes away. */
export const sendWebResponse = async (answer: Response, response: ServerResponse): Promise<void> => {
  const length = answer.headers.get('content-length');
  const whole = answer.body !== null && length !== null && Number(length) <= smallOctets ? new Uint8Array(await answer.arrayBuffer()) : undefined;
  response.writeHead(answer.status, [...answer.headers].flat());
  if (answer.body === null || whole !== undefined) {
    response.end(whole);
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
