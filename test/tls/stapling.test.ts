import { connect, createServer } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { stapleTo } from '../../src/tls/stapling.ts';
import type { StaplingOptions } from '../../src/tls/stapling.ts';
import { createTestPki } from '../support/pki.ts';

const pki = createTestPki();
const identity = pki.issuing.server(['localhost']);
const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

const serve = async (options: Partial<StaplingOptions>): Promise<{ readonly port: number; readonly failures: readonly unknown[] }> => {
  const failures: unknown[] = [];
  const server = createServer({ key: identity.keyPem, cert: identity.chainPem }, (socket) => socket.end('hello'));
  stapleTo(server, { staple: async () => undefined, onFailure: (error) => failures.push(error), ...options });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => server.close());
  return { port: (server.address() as AddressInfo).port, failures };
};

/** What was stapled, and that the handshake was concluded all the same. */
const handshake = (port: number, asking = true): Promise<{ readonly stapled: string | undefined; readonly said: string }> =>
  new Promise((resolve, reject) => {
    let stapled: string | undefined;
    let said = '';
    const socket = connect({ host: '127.0.0.1', port, ca: pki.root.certPem, servername: 'localhost', requestOCSP: asking });
    socket.on('OCSPResponse', (answer: Buffer | null) => (stapled = answer?.toString()));
    socket.on('data', (data: Buffer) => (said += data.toString()));
    socket.on('close', () => resolve({ stapled, said }));
    socket.on('error', reject);
  });

it('gives who asks the answer about the certificate that is shown, and asks for it only then', async () => {
  const asked: string[] = [];
  const { port, failures } = await serve({
    staple: async ({ serial }) => {
      asked.push(serial);
      return Buffer.from('answer');
    },
  });
  expect(await handshake(port, false)).toEqual({ stapled: undefined, said: 'hello' });
  expect(await handshake(port)).toEqual({ stapled: 'answer', said: 'hello' });
  expect(await handshake(port)).toEqual({ stapled: 'answer', said: 'hello' });
  expect([asked, failures]).toEqual([[identity.certificate.serial, identity.certificate.serial], []]);
});

it('staples nothing when there is nothing to say', async () => {
  const { port, failures } = await serve({});
  expect(await handshake(port)).toEqual({ stapled: undefined, said: 'hello' });
  expect(failures).toEqual([]);
});

it('staples nothing after a failure, and tells of the first of several', async () => {
  const answers = ['fails', 'fails', 'answer', 'fails'];
  const { port, failures } = await serve({
    staple: async () => {
      const next = answers.shift() ?? '';
      if (next === 'fails') throw new Error(`${answers.length} left`);
      return Buffer.from(next);
    },
  });
  const stapled: (string | undefined)[] = [];
  for (let times = 0; times < 4; times++) stapled.push((await handshake(port)).stapled);
  expect(stapled).toEqual([undefined, undefined, 'answer', undefined]);
  expect(failures).toMatchObject([{ message: '3 left' }, { message: '0 left' }]);
});

it('does not let a handshake wait for an answer that does not come', async () => {
  const { port } = await serve({ staple: () => new Promise(() => undefined), patienceMs: 30 });
  expect(await handshake(port)).toEqual({ stapled: undefined, said: 'hello' });
});
