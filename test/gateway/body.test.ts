import type { IncomingMessage } from 'node:http';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { readBody } from '../../src/gateway/body.ts';

const limits = { bodyBytes: 10, bodyTimeoutMs: 50 };
const incoming = (headers: Record<string, string> = {}): PassThrough & IncomingMessage => Object.assign(new PassThrough(), { headers }) as unknown as PassThrough & IncomingMessage;

describe('a body', () => {
  it('is read whole up to the limit', async () => {
    const body = incoming();
    const read = readBody(body, limits);
    body.write('12345');
    body.end('67890');
    expect((await read).toString()).toBe('1234567890');
    const empty = incoming();
    empty.end();
    expect((await readBody(empty, limits)).length).toBe(0);
  });

  it('is refused one octet above it, announced or not', async () => {
    await expect(readBody(incoming({ 'content-length': '11' }), limits)).rejects.toMatchObject({ code: 'ERR_HTTP_BODY_TOO_LARGE' });
    const body = incoming();
    const read = readBody(body, limits);
    body.write('12345678901');
    await expect(read).rejects.toMatchObject({ code: 'ERR_HTTP_BODY_TOO_LARGE' });
  });

  it('must arrive in time and to its end, and leaves no listener behind', async () => {
    const late = incoming();
    const lateRead = readBody(late, limits);
    late.write('1');
    await expect(lateRead).rejects.toMatchObject({ code: 'ERR_HTTP_BODY_TIMEOUT', facts: { received: 1 } });
    const cut = incoming();
    const cutRead = readBody(cut, limits);
    cut.destroy();
    await expect(cutRead).rejects.toMatchObject({ code: 'ERR_HTTP_BODY_INCOMPLETE' });
    for (const body of [late, cut]) expect(body.listenerCount('data')).toBe(0);
  });
});
