/** Memory of the gateway's TLS port over many full handshakes: `npm run bench -- soak [handshakes]`, default 100,000. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { createTestPki } from '../../test/support/pki.ts';
import { ratioAtMost } from './measure.ts';
import type { BenchRow } from './measure.ts';

const AT_ONCE = 8;
const MEGABYTE = 1024 * 1024;

export const run = async (handshakes = 100_000): Promise<readonly BenchRow[]> => {
  const pki = createTestPki();
  const server = pki.issuing.server();
  const leaf = pki.issuing.leaf();
  const child = fork(fileURLToPath(new URL('./soak-server.ts', import.meta.url)), { execArgv: ['--expose-gc'] });
  try {
    child.send({ key: server.keyPem, cert: server.chainPem, issuing: pki.issuing.certPem, root: pki.root.certPem });
    const [{ port }] = await once(child, 'message') as [{ port: number }];
    const options: ConnectionOptions = { host: '127.0.0.1', port, servername: 'localhost', ca: pki.root.certPem, key: leaf.keyPem, cert: leaf.certPem };
    const memory = async (): Promise<number> => {
      child.send('memory');
      const [{ rss }] = await once(child, 'message') as [{ rss: number }];
      return rss / MEGABYTE;
    };
    const marks = [0.1, 0.5, 1].map((part) => Math.round(handshakes * part));
    const held: { readonly at: number; readonly rss: number }[] = [];
    let done = 0;
    for (const mark of marks) {
      const one = async (): Promise<void> => {
        while (done < mark) {
          done += 1;
          await handshake(options);
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, one));
      held.push({ at: mark, rss: await memory() });
    }
    const [first, ...later] = held;
    if (first === undefined) return [];
    const nameOf = (at: number): string => `after ${at.toLocaleString('en')} handshakes`;
    return [
      { name: `resident memory ${nameOf(first.at)}`, value: first.rss, unit: 'MB' },
      ...later.map(({ at, rss }): BenchRow => ({ name: `resident memory ${nameOf(at)}`, value: rss, unit: 'MB', reference: { name: nameOf(first.at), value: first.rss }, goal: ratioAtMost(1.1) })),
    ];
  } finally {
    child.kill('SIGKILL');
  }
};

const handshake = (options: ConnectionOptions): Promise<void> =>
  new Promise((resolve, reject) => {
    let answered = false;
    const socket = connect(options, () => { socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'); });
    socket.on('error', reject).on('data', () => { answered = true; }).on('close', () => { if (answered) resolve(); else reject(new Error('the handshake was not accepted')); });
  });
