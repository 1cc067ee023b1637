/** From what a person configured, or a program passed, to upstreams the gateway can carry to. */
import { resolve } from 'node:path';
import type { Clock, Randomness } from '../../ca/index.ts';
import type { Config } from '../config/load.ts';
import { SallyportError } from '../errors.ts';
import { nodeHandlerOf } from '../gateway/fetch-handler.ts';
import type { FetchMcpHandler } from '../gateway/fetch-handler.ts';
import type { GatewayUpstream } from '../gateway/gateway.ts';
import type { NodeMcpHandler } from '../gateway/handler-leg.ts';
import { createHttpUpstream } from '../upstream/http.ts';
import { createStdioUpstream } from '../upstream/stdio.ts';
import type { UpstreamLog } from '../upstream/upstream-log.ts';

/** One MCP server: a command on stdio, a Streamable HTTP address, or a handler in this process. */
export type UpstreamSource =
  | { readonly command: readonly string[]; readonly env?: Readonly<Record<string, string>>; readonly cwd?: string | undefined }
  | { readonly url: string; readonly headers?: Readonly<Record<string, string>>; readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string } }
  /** Node handler: SDK v1 `transport.handleRequest`, or v2 `toNodeHandler(handler)`. */
  | { readonly handler: NodeMcpHandler }
  /** Fetch handler: SDK v2 `handler.fetch`. */
  | { readonly fetch: FetchMcpHandler };

export interface UpstreamWorld {
  readonly config: Config;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly log: UpstreamLog;
}

/** @throws SallyportError `ERR_CONFIG_INVALID` when there is none, or one cannot be used */
export const upstreamsOf = (sources: ReadonlyMap<string, UpstreamSource>, world: UpstreamWorld): readonly GatewayUpstream[] => {
  if (sources.size === 0) {
    throw new SallyportError('ERR_CONFIG_INVALID', 'there is no MCP server to stand in front of: name one in sallyport.yaml under upstreams, or run sallyport serve -- COMMAND');
  }
  return [...sources].map(([name, source]) => upstreamOf(name, source, world));
};

const upstreamOf = (name: string, source: UpstreamSource, { config, clock, randomness, log }: UpstreamWorld): GatewayUpstream => {
  const { upstreamTimeoutMs, eventBufferPerStream } = config.gateway.limits;
  if ('handler' in source) return { name, handler: source.handler };
  if ('fetch' in source) return { name, handler: nodeHandlerOf(source.fetch) };
  if ('url' in source) return createHttpUpstream({ name, url: source.url, headers: source.headers, tls: source.tls, log, limits: { answerTimeoutMs: upstreamTimeoutMs } });
  const [command, ...args] = source.command;
  if (command === undefined) throw new SallyportError('ERR_CONFIG_INVALID', `upstream ${name} has an empty command: name the program to run`, { facts: { upstream: name } });
  return createStdioUpstream({
    name, command, args, env: source.env, cwd: source.cwd === undefined ? undefined : resolve(config.directory, source.cwd),
    clock, randomness, log, limits: { eventsPerStream: eventBufferPerStream },
  });
};
