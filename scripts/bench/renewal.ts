/** A hundred agents whose certificates live for a minute: does any call fail, is anything left over? `npm run bench -- renewal [seconds]`. */
import { cp, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { enroll } from '../../src/bridge/enroll.ts';
import { openGateway } from '../../src/bridge/opened-gateway.ts';
import type { OpenedGateway } from '../../src/bridge/opened-gateway.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { ServedPort } from '../../test/support/served-port.ts';
import { modernHeaders, modernMeta } from './call-client.ts';
import type { NodeMcpHandler } from '../../src/gateway/handler-leg.ts';
import { createLightHandler } from './light-handler.ts';
import { atMost } from './measure.ts';
import type { BenchRow } from './measure.ts';

const AGENTS = 100;
/** Of each agent, between the answer and the next call. */
const PAUSE_MS = 400;
const LOOK_MS = 5_000;

const policy = `roles:
  caller: { grants: [{ upstream: "*", tools: [echo] }] }
bindings:
  - { role: caller, when: { organizationalUnit: analytics } }
`;

interface Listed {
  readonly agent: string;
  readonly status: string;
  readonly profile: string;
  readonly serial: string;
  readonly firstSeenAt?: string | null;
  readonly replaces?: string | null;
}

export const run = async (seconds = 240): Promise<readonly BenchRow[]> => {
  const port = await ServedPort.make();
  const upstream = await startUpstream();
  const agents: OpenedGateway[] = [];
  try {
    await port.writePolicy(policy);
    const settings = port.path('port', 'sallyport.yaml');
    await writeFile(settings, (await readFile(settings, 'utf8')).replace(/^ {2}defaultTtl: .*$/m, '  defaultTtl: 60s\n  serverTtl: 60s\n  retireReplaced: 10s'));
    // The one of init lives for ninety days.
    await port.place.json('issue', 'localhost', '--profile', 'server', '--ttl', '60s', '--out', 'server');
    await cp(port.path('server', 'key.pem'), port.path('port', 'keys', 'server.key.pem'));
    await cp(port.path('server', 'cert.pem'), port.path('port', 'certs', 'server.cert.pem'));
    const { endpoints, enrollUrl } = await port.serve({ args: ['--upstream', `bench=${upstream.url}`], upstream: [] });
    const url = new URL(endpoints[0]?.url ?? '');
    const warned: string[] = [];
    for (let index = 0; index < AGENTS; index += 1) {
      const { token } = (await port.place.json('token', 'create', `agent-${index}`, '--ou', 'analytics')) as { token: string };
      await enroll({ url: enrollUrl, token, out: port.path(`agent-${index}`) });
      agents.push(await openGateway(
        { url, identity: port.path(`agent-${index}`), passphrase: undefined, passphraseIs: 'forAnyKey', enroll: undefined, renew: 'auto' },
        { clock: systemClock, randomness: systemRandomness, notice: ({ level, message }) => { if (level !== 'info') warned.push(message); }, onIdentity: () => undefined },
      ));
    }
    const tally = await callUntil(agents, performance.now() + seconds * 1_000, port);
    for (const agent of agents.splice(0)) agent.close();
    // What is under way when they stop.
    await sleep(2_000);
    for (const message of [...new Set(warned), ...tally.failures].slice(0, 10)) process.stderr.write(`${message}\n`);
    const all = (await port.place.run('inventory', '--json')).stdout;
    const certificates = JSON.parse(all) as readonly Listed[];
    const ofAgents = certificates.filter(({ profile }) => profile === 'agent');
    const unused = live(ofAgents).filter(({ firstSeenAt }) => firstSeenAt === undefined || firstSeenAt === null);
    return [
      { name: 'calls', value: tally.calls, unit: 'calls' },
      { name: 'calls that failed', value: tally.failures.length, unit: 'calls', goal: atMost(0) },
      { name: 'slowest call', value: tally.slowestMs, unit: 'ms' },
      { name: 'renewals of agents', value: ofAgents.length - AGENTS, unit: 'certificates' },
      { name: 'renewals that failed and were tried again', value: warned.length, unit: 'times', goal: atMost(0) },
      { name: "renewals of the gateway's own certificate", value: certificates.filter(({ profile }) => profile === 'server').length - 2, unit: 'certificates' },
      { name: 'most live certificates of one agent at a time', value: tally.mostLive, unit: 'certificates', goal: atMost(2) },
      { name: 'live certificates at the end that nobody ever used', value: unused.length, unit: 'certificates', goal: atMost(0) },
      { name: 'replaced certificates retired before their end', value: ofAgents.filter(({ status }) => status === 'revoked').length, unit: 'certificates' },
    ];
  } finally {
    for (const agent of agents) agent.close();
    await port.close();
    upstream.close();
  }
};

const live = (certificates: readonly Listed[]): readonly Listed[] => certificates.filter(({ status }) => status === 'live');

interface Tally {
  readonly calls: number;
  readonly failures: readonly string[];
  readonly slowestMs: number;
  readonly mostLive: number;
}

const callUntil = async (agents: readonly OpenedGateway[], end: number, port: ServedPort): Promise<Tally> => {
  let calls = 0;
  let slowestMs = 0;
  let mostLive = 0;
  const failures: string[] = [];
  const callAgain = async (agent: OpenedGateway, index: number): Promise<void> => {
    await sleep((index * PAUSE_MS) / agents.length);
    while (performance.now() < end) {
      const startedAt = performance.now();
      await call(agent, `${index} ${calls}`).catch((error: unknown) => failures.push(`agent-${index} at ${new Date().toISOString()}: ${String(error)}`));
      slowestMs = Math.max(slowestMs, performance.now() - startedAt);
      calls += 1;
      await sleep(PAUSE_MS);
    }
  };
  const look = async (): Promise<void> => {
    while (performance.now() < end) {
      await sleep(LOOK_MS);
      const listed = JSON.parse((await port.place.run('inventory', '--status', 'live', '--json')).stdout) as readonly Listed[];
      for (const some of Map.groupBy(live(listed).filter(({ profile }) => profile === 'agent'), ({ agent }) => agent).values()) mostLive = Math.max(mostLive, some.length);
    }
  };
  await Promise.all([...agents.map(callAgain), look()]);
  return { calls, failures, slowestMs, mostLive };
};

const call = async ({ fetch, url }: OpenedGateway, text: string): Promise<void> => {
  const answer = await fetch(url, {
    method: 'POST', headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...modernHeaders('tools/call', 'echo') },
    body: JSON.stringify({ jsonrpc: '2.0', id: text, method: 'tools/call', params: { name: 'echo', arguments: { text }, _meta: modernMeta } }),
  });
  const body = await answer.text();
  if (answer.status !== 200 || !body.includes(JSON.stringify(text))) throw new Error(`HTTP ${answer.status}: ${body.slice(0, 300)}`);
};

const startUpstream = async (): Promise<{ readonly url: string; close(): void }> => {
  const handler = createLightHandler();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => void handler(request as Parameters<NodeMcpHandler>[0], response, chunks.length === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString())));
  });
  await new Promise<void>((listening) => { server.listen(0, '127.0.0.1', listening); });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
};
