/** The servers of the call benchmark: the bare SDK server over HTTP and over mutual TLS, and the gateway in front of it. */
import { createServer as createHttpServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { GatewayUpstream } from '../../src/gateway/gateway.ts';
import type { NodeMcpHandler } from '../../src/gateway/handler-leg.ts';
import type { Era } from '../../src/mcp/revisions.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createHttpUpstream } from '../../src/upstream/http.ts';
import { createStdioUpstream } from '../../src/upstream/stdio.ts';
import { benchLog, startBenchGateway } from './bench-gateway.ts';
import type { GatewaySecrets } from './bench-gateway.ts';
import { serveJob } from './child.ts';
import { createEchoHandler, echoOverStdio } from './echo-server.ts';
import { createModernEchoHandler, modernEchoOverStdio } from './modern-echo-server.ts';

export interface CallServerJob extends GatewaySecrets {
  readonly kind: 'sdkOverHttp' | 'sdkOverMutualTls' | 'gateway';
  /** Of the MCP server: SDK v1 or v2. Default legacy. */
  readonly era?: Era;
  /** Of the gateway. An URL is that of an HTTP upstream. */
  readonly upstream?: 'handler' | 'stdio' | { readonly url: string };
  /** Default `sqlite`. */
  readonly evidence?: 'sqlite' | 'none';
}

const policy = `roles:
  caller: { grants: [{ upstream: bench, tools: [echo] }] }
bindings:
  - { role: caller, when: { organizationalUnit: analytics } }
`;

const start = async (job: CallServerJob): Promise<number> => {
  const { kind, era = 'legacy', evidence = 'sqlite' } = job;
  if (kind === 'gateway') return (await startBenchGateway({ ...job, policy, evidence, upstreams: [upstreamOf(job.upstream ?? 'handler', era)] })).port;
  const handle = handlerOf(era);
  const listener = (request: IncomingMessage, response: ServerResponse): void => { void handle(request as Parameters<NodeMcpHandler>[0], response); };
  const server = kind === 'sdkOverHttp'
    ? createHttpServer(listener)
    : createHttpsServer({ key: job.key, cert: job.cert, ca: [job.issuing, job.root], requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' }, listener);
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return (server.address() as AddressInfo).port;
};

const handlerOf = (era: Era): NodeMcpHandler => (era === 'legacy' ? createEchoHandler() : createModernEchoHandler());

const upstreamOf = (upstream: NonNullable<CallServerJob['upstream']>, era: Era): GatewayUpstream => {
  const name = 'bench';
  if (upstream === 'handler') return { name, handler: handlerOf(era) };
  if (upstream === 'stdio') return createStdioUpstream({ name, ...(era === 'legacy' ? echoOverStdio : modernEchoOverStdio), clock: systemClock, randomness: systemRandomness, log: benchLog });
  return createHttpUpstream({ name, url: upstream.url, log: benchLog });
};

serveJob(start);
