/**
 * tools/call through the gateway against the same SDK v1 server without it, and the gateway's own
 * CPU against nginx's as a plain mutual-TLS proxy of the same server. Eight clients at once, each
 * with a session and a connection of its own.
 */
import { writeFile } from 'node:fs/promises';
import { createTestPki } from '../../test/support/pki.ts';
import { openHttpCaller, openStdioCaller } from './call-client.ts';
import type { Caller } from './call-client.ts';
import type { CallServerJob } from './call-server.ts';
import { forkServer, startNginx } from './child.ts';
import type { Contender } from './child.ts';
import { median, quantile, ratioAtMost } from './measure.ts';
import type { BenchRow, Goal } from './measure.ts';

const CLIENTS = 8;

interface Measured {
  /** Per second. */
  readonly rates: number[];
  /** Milliseconds. */
  readonly latencies: number[];
  /** Microseconds of the process nearest to the client, per call. */
  readonly cpu: number[];
}

interface Lane extends Measured {
  readonly name: string;
  readonly contender: Contender | undefined;
  readonly callers: readonly Caller[];
}

export const run = async (calls = 1_500, passes = 5): Promise<readonly BenchRow[]> => {
  const pki = createTestPki();
  const server = pki.issuing.server();
  const agent = pki.issuing.leaf({ organizationalUnits: ['analytics'] });
  const secrets = { key: server.keyPem, cert: server.chainPem, issuing: pki.issuing.certPem, root: pki.root.certPem };
  const identity = { key: agent.keyPem, cert: agent.chainPem, ca: pki.root.certPem };
  const started: Contender[] = [];
  const lanes: Lane[] = [];
  const serve = async (job: Omit<CallServerJob, keyof typeof secrets>): Promise<Contender> => {
    const contender = await forkServer('./call-server.ts', { ...job, ...secrets } satisfies CallServerJob);
    started.push(contender);
    return contender;
  };
  const lane = async (name: string, contender: Contender | undefined, open: () => Promise<Caller>): Promise<void> => {
    lanes.push({ name, contender, callers: await Promise.all(Array.from({ length: CLIENTS }, open)), rates: [], latencies: [], cpu: [] });
  };
  const overTls = (contender: Contender) => () => openHttpCaller(`https://127.0.0.1:${contender.port}/mcp`, identity);
  try {
    const upstream = await serve({ kind: 'sdkOverHttp' });
    const url = `http://127.0.0.1:${upstream.port}/mcp`;
    await lane('http', upstream, () => openHttpCaller(url));
    for (const evidence of ['sqlite', 'none'] as const) {
      const gateway = await serve({ kind: 'gateway', upstream: { url }, evidence });
      await lane(`gateway http ${evidence}`, gateway, overTls(gateway));
    }
    const nginx = await startNginx(async (directory, port) => {
      const files = { 'key.pem': secrets.key, 'cert.pem': secrets.cert, 'ca.pem': secrets.issuing + secrets.root };
      for (const [name, text] of Object.entries(files)) await writeFile(`${directory}/${name}`, text, { mode: 0o600 });
      return `upstream mcp { server 127.0.0.1:${upstream.port}; keepalive 32; }
server { listen 127.0.0.1:${port} ssl; ssl_protocols TLSv1.3; ssl_certificate ${directory}/cert.pem; ssl_certificate_key ${directory}/key.pem;
ssl_client_certificate ${directory}/ca.pem; ssl_verify_client on; ssl_verify_depth 2;
location / { proxy_pass http://mcp; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } }`;
    });
    if (nginx !== undefined) {
      started.push(nginx);
      await lane('nginx', nginx, overTls(nginx));
    }
    const bare = await serve({ kind: 'sdkOverMutualTls' });
    await lane('tls', bare, overTls(bare));
    for (const evidence of ['sqlite', 'none'] as const) {
      const inProcess = await serve({ kind: 'gateway', upstream: 'handler', evidence });
      await lane(`gateway handler ${evidence}`, inProcess, overTls(inProcess));
    }
    await lane('stdio', undefined, openStdioCaller);
    const overStdio = await serve({ kind: 'gateway', upstream: 'stdio' });
    await lane('gateway stdio', overStdio, overTls(overStdio));

    // Interleaved, so that whatever else the machine does falls on all alike. The first pass warms up.
    for (let pass = 0; pass <= passes; pass += 1) for (const each of lanes) await measure(each, calls, pass > 0);
  } finally {
    await Promise.all(lanes.flatMap(({ callers }) => callers.map((caller) => caller.close())));
    await Promise.all(started.map((contender) => contender.stop()));
  }
  return rowsOf(new Map(lanes.map((each) => [each.name, each])));
};

const measure = async ({ contender, callers, rates, latencies, cpu }: Lane, calls: number, kept: boolean): Promise<void> => {
  const times: number[] = [];
  const before = await contender?.cpu();
  const startedAt = performance.now();
  await Promise.all(callers.map(async (caller) => {
    for (let number = 0; number < calls / callers.length; number += 1) {
      const sent = performance.now();
      await caller.call();
      times.push(performance.now() - sent);
    }
  }));
  const elapsed = performance.now() - startedAt;
  if (!kept) return;
  rates.push((times.length / elapsed) * 1_000);
  latencies.push(...times);
  if (contender !== undefined && before !== undefined) cpu.push(((await contender.cpu()) - before) / times.length);
};

const rowsOf = (lanes: ReadonlyMap<string, Measured>): readonly BenchRow[] => {
  const compare = (name: string, lane: string, against: string, referenceName: string): readonly BenchRow[] => {
    const [ours, theirs] = [lanes.get(lane), lanes.get(against)];
    if (ours === undefined || theirs === undefined) return [];
    const row = (what: string, unit: string, of: (measured: Measured) => number): BenchRow => ({ name: `${name}: ${what}`, value: of(ours), unit, reference: { name: referenceName, value: of(theirs) } });
    return [
      row('calls per second', 'calls/s', ({ rates }) => median(rates)),
      row('p50', 'ms', ({ latencies }) => median(latencies)),
      row('p99', 'ms', ({ latencies }) => quantile(latencies, 0.99)),
    ];
  };
  const cpu = (name: string, lane: string, against: string, referenceName: string, goal?: Goal): readonly BenchRow[] => {
    const [ours, theirs] = [lanes.get(lane), lanes.get(against)];
    if (ours === undefined || theirs === undefined) return [];
    return [{ name, value: median(ours.cpu), unit: 'µs CPU/call', reference: { name: referenceName, value: median(theirs.cpu) }, ...(goal === undefined ? {} : { goal }) }];
  };
  const bareTls = 'the bare SDK server over the same mutual TLS';
  const bareHttp = 'the bare SDK server over plain HTTP';
  const proxy = 'nginx as a plain mutual-TLS proxy of the same server';
  return [
    ...compare('HTTP upstream', 'gateway http sqlite', 'http', bareHttp),
    ...compare('HTTP upstream', 'gateway http sqlite', 'nginx', proxy),
    ...cpu('HTTP upstream: CPU of the gateway, decisions in the audit log', 'gateway http sqlite', 'nginx', proxy, ratioAtMost(1.5)),
    ...cpu('HTTP upstream: CPU of the gateway, decisions not written down', 'gateway http none', 'nginx', proxy),
    ...compare('stdio upstream', 'gateway stdio', 'stdio', 'the bare SDK server over stdio'),
    ...compare('in process', 'gateway handler sqlite', 'tls', bareTls),
    ...cpu('in process: CPU, decisions in the audit log', 'gateway handler sqlite', 'tls', bareTls, ratioAtMost(1.1)),
    ...cpu('in process: CPU, decisions not written down', 'gateway handler none', 'tls', bareTls),
  ];
};
