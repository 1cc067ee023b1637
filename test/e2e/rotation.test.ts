/** The promise of docs/hierarchy.md: issuing CA and root are replaced under running agents, by commands of another process, and no call is lost. */
import { X509Certificate } from 'node:crypto';
import { cp, readFile, rename } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createGateway } from '../../src/app/create-gateway.ts';
import type { RunningGateway } from '../../src/app/create-gateway.ts';
import { createLogger } from '../../src/app/log.ts';
import { createIdentityFetch } from '../../src/bridge/index.ts';
import { createV1Handler } from '../support/mcp-servers/v1-http.ts';
import { ServedPort, until } from '../support/served-port.ts';
import type { Connected } from '../support/served-port.ts';

let port: ServedPort;
let gateway: RunningGateway;
const handler = createV1Handler();
beforeAll(async () => {
  port = await ServedPort.make();
  gateway = await createGateway({
    directory: port.path('port'), upstreams: { default: { handler: handler.handle } }, listen: 'localhost:0', public: '127.0.0.1:0', enroll: 'localhost:0', logger: createLogger({ level: 'silent' }),
  });
  await gateway.listen();
});
afterAll(async () => {
  await gateway.close({ drainMs: 0 });
  await handler.close();
  await port.close();
});

const url = (): string => `${gateway.url}/mcp`;
const authority = () => gateway.deployment.authority;

const enroll = async (name: string): Promise<void> => {
  const token = String((await port.place.json('token', 'create', name, '--ou', 'analytics'))['token']);
  expect(await port.place.run('enroll', gateway.enrollUrl ?? '', '--token', token, '--out', name)).toMatchObject({ code: 0 });
};

const certificatesIn = async (...path: readonly string[]): Promise<readonly X509Certificate[]> =>
  ((await readFile(port.path(...path), 'utf8')).match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/gu) ?? []).map((pem) => new X509Certificate(pem));

/** A successor must last longer than the one before, and times are whole seconds. */
const renew = async (...names: readonly string[]): Promise<void> => {
  const begun = await Promise.all(names.map(async (name) => (await certificatesIn(name, 'cert.pem'))[0]?.validFromDate.getTime() ?? 0));
  await sleep(Math.max(0, Math.max(...begun) + 61_000 - Date.now()));
  expect(await port.place.run('renew', ...names, '--force')).toMatchObject({ code: 0 });
};

/** A step of an operator, followed by the gateway. */
const rotate = async (...step: readonly string[]): Promise<void> => {
  const { sequence } = authority();
  expect(await port.place.run('ca', 'rotate', ...step)).toMatchObject({ code: 0 });
  await until(() => authority().sequence > sequence, () => `${step.join(' ')} was not followed`);
};

/** How the gateway takes an identity directory, on a new connection. */
const refusal = async (name: string): Promise<unknown> => {
  const fetch = createIdentityFetch({ identity: port.path(name) });
  try {
    return (await fetch.diagnose(url()))?.facts['reason'];
  } finally {
    fetch.close();
  }
};

class Caller {
  calls = 0;
  readonly failures: unknown[] = [];
  readonly #ended: Promise<void>;
  #stopped = false;

  constructor(agent: Connected) {
    this.#ended = this.#callOn(agent);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#ended;
  }

  async #callOn(agent: Connected): Promise<void> {
    while (!this.#stopped) {
      this.calls += 1;
      const text = `call ${this.calls}`;
      await agent.call('echo', { text }).then(
        (answer) => void (answer === text || this.failures.push(answer)),
        (error: unknown) => void this.failures.push(error),
      );
      await sleep(20);
    }
  }
}

it('issuing CA and then root are replaced while agents keep calling, and no call is lost', async () => {
  await enroll('steady');
  await enroll('distant');
  await cp(port.path('steady'), port.path('first'), { recursive: true });
  const caller = new Caller(await port.connect(port.path('steady'), url()));
  const [firstRoot] = await certificatesIn('steady', 'ca.pem');

  await rotate('prepare', 'issuing');
  await rotate('activate', 'issuing-2');
  expect(await refusal('first')).toBeUndefined();
  expect(await port.place.run('ca', 'rotate', 'retire', 'issuing')).toMatchObject({ code: 3, stderr: expect.stringContaining('ERR_CA_IN_USE') });
  await renew('steady', 'distant');
  // That its own key cannot be read keeps the gateway from nothing.
  const serverKey = port.path('port', 'keys', 'server.key.pem');
  await rename(serverKey, `${serverKey}.away`);
  await rotate('retire', 'issuing');
  expect(await refusal('first')).toBe('ERR_PEER_UNTRUSTED');
  await rename(`${serverKey}.away`, serverKey);
  expect(await refusal('steady')).toBeUndefined();

  await rotate('prepare', 'root');
  await enroll('between');
  expect(await certificatesIn('between', 'ca.pem')).toHaveLength(2);
  // Over TLS, for whoever knows a root already; plainly on the public listener.
  expect(await (await fetch(`${gateway.publicUrl ?? ''}/ca/bundle.pem`)).text()).toBe((await port.place.run('ca', 'bundle')).stdout);
  await rotate('activate', 'root-2', '--now');
  await until(async () => (await certificatesIn('port', 'certs', 'server.cert.pem'))[0]?.verify(new X509Certificate(authority().issuing.pem).publicKey) === true);
  // Who knows the old root alone goes on, and learns the new one when it renews.
  expect((await certificatesIn('distant', 'ca.pem')).map(({ raw }) => raw)).toEqual([firstRoot?.raw]);
  expect(await refusal('distant')).toBeUndefined();
  await cp(port.path('distant'), port.path('second'), { recursive: true });
  await renew('steady', 'distant', 'between');
  await rotate('retire', 'root');
  expect(await refusal('second')).toBeDefined();
  expect(await certificatesIn('distant', 'ca.pem')).toHaveLength(2);
  for (const name of ['steady', 'distant', 'between']) expect(await refusal(name)).toBeUndefined();

  await caller.stop();
  expect(caller.failures).toEqual([]);
  expect(caller.calls).toBeGreaterThan(20);
  expect(authority().issuers.filter(({ status }) => status !== 'retired').map(({ name, status }) => [name, status])).toEqual([['root-2', 'active'], ['issuing-3', 'active']]);
  expect(await port.place.run('ca', 'audit')).toMatchObject({ code: 0 });
});
