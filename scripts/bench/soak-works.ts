/** What clients of every kind do to the gateway during the soak, each with a connection of its own. */
import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { modernHeaders, modernMeta, openHttpConnection, openSession } from './call-client.ts';
import type { ClientIdentity, HttpConnection } from './call-client.ts';

export interface SoakWorld {
  readonly url: string;
  /** Agents may call `echo`, visitors nothing; the stranger's certificate is of another CA. */
  agent(): ClientIdentity;
  visitor(): ClientIdentity;
  stranger(): ClientIdentity;
}

type Work = (world: SoakWorld) => Promise<void>;
type Headers = Readonly<Record<string, string>>;

const CALLS = 20;

const echo = (text: string, meta?: object): object => ({ jsonrpc: '2.0', id: text, method: 'tools/call', params: { name: 'echo', arguments: { text }, ...(meta === undefined ? {} : { _meta: meta }) } });

export const soakWorks: Readonly<Record<string, Work>> = {
  'legacy session with a stream, ended by its client': async ({ url, agent }) => {
    const identity = agent();
    await connected(`${url}/bench/mcp`, identity, async (connection) => {
      const own = await openSession(connection);
      await connected(`${url}/bench/mcp`, identity, async (listening) => {
        heads(await listening.send('GET', undefined, own), 200);
        for (let call = 0; call < CALLS; call += 1) await expectEcho(connection, `call ${call}`, own);
      });
      heads(await connection.send('DELETE', undefined, own), 200);
    });
  },
  'legacy session whose client vanished': ({ url, agent }) =>
    connected(`${url}/bench/mcp`, agent(), async (connection) => {
      await expectEcho(connection, 'last words', await openSession(connection));
    }),
  'legacy session with a child of its own': async ({ url, agent }) => {
    await connected(`${url}/child/mcp`, agent(), async (connection) => {
      const own = await openSession(connection);
      for (let call = 0; call < CALLS; call += 1) await expectEcho(connection, `call ${call}`, own);
      heads(await connection.send('DELETE', undefined, own), 200);
    });
    // Starting children is most of the work of a machine if they are let.
    await sleep(1_000);
  },
  'modern calls': ({ url, agent }) =>
    connected(`${url}/bench/mcp`, agent(), async (connection) => {
      for (let call = 0; call < CALLS; call += 1) await expectEcho(connection, `call ${call}`);
    }),
  'modern subscription, left by its client': ({ url, agent }) =>
    connected(`${url}/bench/mcp`, agent(), async (connection) => {
      const listen = { jsonrpc: '2.0', id: 'listen', method: 'subscriptions/listen', params: { notifications: { toolsListChanged: true }, _meta: modernMeta } };
      const stream = heads(await connection.send('POST', listen, modernHeaders('subscriptions/listen')), 200);
      await new Promise<void>((resolve) => { stream.once('data', () => resolve()); });
    }),
  'modern call whose client did not wait': ({ url, agent }) =>
    connected(`${url}/bench/mcp`, agent(), async (connection) => {
      await expectEcho(connection, 'first');
      connection.send('POST', echo('never read', modernMeta), modernHeaders('tools/call', 'echo')).then((response) => response.on('error', () => undefined).resume(), () => undefined);
      await sleep(1);
    }),
  'agent without a role': ({ url, visitor }) =>
    connected(`${url}/bench/mcp`, visitor(), async (connection) => {
      const { body } = await connection.post(echo('may I', modernMeta), modernHeaders('tools/call', 'echo'));
      if (!body.includes('"error"')) throw new Error(`an agent without a role was answered ${body}`);
    }),
  'certificate of another CA': ({ url, stranger }) =>
    connected(`${url}/bench/mcp`, stranger(), async (connection) => {
      const answered = await connection.post(echo('may I', modernMeta), modernHeaders('tools/call', 'echo')).then(({ status }) => status, () => 403);
      if (answered !== 403) throw new Error(`a certificate of another CA was answered ${answered}`);
    }),
};

const connected = async (url: string, identity: ClientIdentity, work: (connection: HttpConnection) => Promise<void>): Promise<void> => {
  const connection = openHttpConnection(url, identity);
  try {
    await work(connection);
  } finally {
    connection.close();
  }
};

/** Without headers of a session in the modern era. */
const expectEcho = async (connection: HttpConnection, text: string, session?: Headers): Promise<void> => {
  const { status, body } = await (session === undefined ? connection.post(echo(text, modernMeta), modernHeaders('tools/call', 'echo')) : connection.post(echo(text), session));
  if (status !== 200 || !body.includes(`"text":${JSON.stringify(text)}`)) throw new Error(`a call was answered ${status}: ${body.slice(0, 300)}`);
};

const heads = (response: IncomingMessage, expected: number): IncomingMessage => {
  if (response.statusCode !== expected) throw new Error(`answered ${response.statusCode} in place of ${expected}`);
  return response.on('error', () => undefined).resume();
};
