/**
 * tools/call through the gateway against the same SDK v1 server without it, and the gateway's own
 * CPU against nginx's as a plain mutual-TLS proxy of the same server. Eight clients at once, each
 * with a session and a connection of its own.
 */
import { writeFile } from 'node:fs/promises';
import { createTestPki } from '../../test/support/pki.ts';
import { openHttpCaller, openStdioCaller } from './call-client.ts';
import type { Caller } from './call-client.ts';
import { compareCpu, compareUnderLoad, measureLanes, openLane } from './call-lanes.ts';
import type { Lane, Reference } from './call-lanes.ts';
import type { CallServerJob } from './call-server.ts';
import { forkServer, startNginx } from './child.ts';
import type { Contender } from './child.ts';
import { ratioAtMost } from './measure.ts';
import type { BenchRow, Goal } from './measure.ts';

const CLIENTS = 8;

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
    lanes.push(await openLane(name, contender, { clients: CLIENTS, open }));
  };
  const overTls = (contender: Contender) => () => openHttpCaller(`https://127.0.0.1:${contender.port}/mcp`, { identity });
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
    await lane('stdio', undefined, () => openStdioCaller());
    const overStdio = await serve({ kind: 'gateway', upstream: 'stdio' });
    await lane('gateway stdio', overStdio, overTls(overStdio));

    await measureLanes(lanes, { passes, calls });
  } finally {
    await Promise.all(lanes.flatMap(({ callers }) => callers.map((caller) => caller.close())));
    await Promise.all(started.map((contender) => contender.stop()));
  }
  return rowsOf(new Map(lanes.map((each) => [each.name, each])));
};

const rowsOf = (lanes: ReadonlyMap<string, Lane>): readonly BenchRow[] => {
  const pair = (lane: string, against: string, name: string): [Lane, Reference] | undefined => {
    const [ours, theirs] = [lanes.get(lane), lanes.get(against)];
    return ours === undefined || theirs === undefined ? undefined : [ours, { lane: theirs, name }];
  };
  const load = (name: string, compared: [Lane, Reference] | undefined): readonly BenchRow[] => (compared === undefined ? [] : compareUnderLoad(name, ...compared));
  const cpu = (name: string, compared: [Lane, Reference] | undefined, goal?: Goal): readonly BenchRow[] => (compared === undefined ? [] : [compareCpu(name, ...compared, goal)]);
  const bareTls = 'the bare SDK server over the same mutual TLS';
  const proxy = 'nginx as a plain mutual-TLS proxy of the same server';
  return [
    ...load('HTTP upstream', pair('gateway http sqlite', 'http', 'the bare SDK server over plain HTTP')),
    ...load('HTTP upstream', pair('gateway http sqlite', 'nginx', proxy)),
    ...cpu('HTTP upstream: CPU of the gateway, decisions in the audit log', pair('gateway http sqlite', 'nginx', proxy), ratioAtMost(1.5)),
    ...cpu('HTTP upstream: CPU of the gateway, decisions not written down', pair('gateway http none', 'nginx', proxy)),
    ...load('stdio upstream', pair('gateway stdio', 'stdio', 'the bare SDK server over stdio')),
    ...load('in process', pair('gateway handler sqlite', 'tls', bareTls)),
    ...cpu('in process: CPU, decisions in the audit log', pair('gateway handler sqlite', 'tls', bareTls), ratioAtMost(1.1)),
    ...cpu('in process: CPU, decisions not written down', pair('gateway handler none', 'tls', bareTls)),
  ];
};
