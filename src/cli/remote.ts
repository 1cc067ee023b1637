/** A gateway's API in place of a data directory: the same commands from an admin's own machine. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import { problem as problemSchema } from '../api/schemas.ts';
import { createIdentityFetch } from '../bridge/identity-fetch.ts';
import type { IdentityFetch } from '../bridge/identity-fetch.ts';
import { SallyportError, errorTable } from '../errors.ts';
import type { GateErrorCode } from '../errors.ts';
import { usage } from './cli.ts';
import type { CliIo } from './io.ts';

export interface RemoteOptions {
  readonly server?: string;
  readonly identity?: string;
}

export const remoteOptions = (command: Command): Command =>
  command
    .option('--server <url>', 'do it at this gateway, over its API: the address of its enrollment port')
    .option('--identity <dir>', 'with --server: identity directory of an admin');

export class RemoteAuthority {
  readonly #base: string;
  readonly #fetch: IdentityFetch;

  constructor(base: string, identity: string) {
    this.#base = base;
    this.#fetch = createIdentityFetch({ identity });
  }

  /** @throws SallyportError with the code that the gateway gives */
  async call<Answer extends z.ZodType>(method: 'GET' | 'POST' | 'DELETE', path: string, options: { readonly answer: Answer; readonly query?: Readonly<Record<string, string>>; readonly body?: unknown; readonly idempotencyKey?: string }): Promise<z.output<Answer>> {
    const { answer, query = {}, body, idempotencyKey } = options;
    const url = new URL(`${this.#base}/api/v1${path}`);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const headers = { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }) };
    const ask = async (): Promise<{ readonly status: number; readonly value: unknown }> => {
      const response = await this.#fetch(url, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
      return { status: response.status, value: parsed(await response.text()) };
    };
    const { status, value } = await ask().catch((error: unknown) => {
      if (idempotencyKey === undefined || !(error instanceof SallyportError && error.code === 'ERR_BRIDGE_UNREACHABLE')) throw error;
      return ask();
    });
    if (status !== 200 && status !== 201) throw refusal(value, status, this.#base);
    const read = answer.safeParse(value);
    if (!read.success) throw new SallyportError('ERR_BRIDGE_REFUSED', `${this.#base} does not answer as the API of this Sallyport does: use the version it runs`, { cause: read.error });
    return read.data;
  }

  close(): void {
    this.#fetch.close();
  }
}

/** Undefined: the data directory is meant. */
export function remoteOf(io: CliIo, { server, identity }: RemoteOptions): RemoteAuthority | undefined {
  if (server === undefined) {
    if (identity !== undefined) throw usage('--identity is for --server: give both, or neither');
    return undefined;
  }
  if (identity === undefined) throw usage('--server needs the identity of an admin: give it with --identity DIR');
  const url = URL.parse(server);
  if (url?.protocol !== 'https:' || url.pathname !== '/' || url.search !== '') throw usage(`${server} is not the address of an enrollment port: write it like https://mcp.acme.internal:8444`);
  return new RemoteAuthority(url.origin, resolve(io.cwd, identity));
}

const older = z.object({ error: z.object({ code: z.string(), message: z.string() }) });

const refusal = (value: unknown, status: number, server: string): SallyportError => {
  const problem = problemSchema.safeParse(value);
  if (problem.success) return coded(problem.data.code, problem.data.detail ?? problem.data.title, server);
  const error = older.safeParse(value);
  if (error.success) return coded(error.data.error.code, error.data.error.message, server);
  return new SallyportError('ERR_BRIDGE_REFUSED', `${server} answers ${status} and is no enrollment port of Sallyport: look at the address`);
};

const coded = (code: string, message: string, server: string): SallyportError =>
  new SallyportError(code in errorTable ? (code as GateErrorCode) : 'ERR_BRIDGE_REFUSED', `${server} refused: ${message}`, { facts: { server, code } });

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};
