/** What the stories share: a data directory made with the commands an operator types, and a place that vanishes. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { createIdentityFetch } from 'sallyport/bridge';

export interface Stage {
  /** The data directory. */
  readonly directory: string;
  path(name: string): string;
  /** `sallyport …`, with `--dir` and `--json`. */
  sallyport(...argv: readonly string[]): Promise<Record<string, unknown>>;
  policy(yaml: string): Promise<void>;
  /** An MCP client that presents the identity in that directory. */
  connect(url: string, identity: string): Promise<Client>;
  /** What somebody without a certificate is answered: to a GET, or to a POST of this message. */
  stranger(url: string, message?: object): Promise<{ readonly status: number; readonly text: string }>;
}

const launcher = fileURLToPath(new URL('../bin/sallyport.js', import.meta.url));

/** Runs a story, and removes every trace of it. */
export async function onStage(story: (stage: Stage) => Promise<void>): Promise<void> {
  const place = await mkdtemp(join(tmpdir(), 'sallyport-example-'));
  const directory = join(place, 'port');
  const endings: (() => Promise<void>)[] = [];
  const sallyport: Stage['sallyport'] = async (...argv) => {
    const { stdout } = await promisify(execFile)(process.execPath, [launcher, ...argv, '--dir', directory, '--json'], { cwd: place });
    return JSON.parse(stdout) as Record<string, unknown>;
  };
  try {
    await sallyport('init', '--name', 'Acme', '--trust-domain', 'acme.internal', '--host', 'localhost');
    await story({
      directory,
      path: (name) => join(place, name),
      sallyport,
      policy: (yaml) => writeFile(join(directory, 'policy.yaml'), yaml),
      connect: async (url, identity) => {
        const fetch = createIdentityFetch({ identity });
        const client = new Client({ name: 'example', version: '1.0.0' });
        endings.push(async () => {
          await client.close();
          fetch.close();
        });
        // The SDK's own types do not agree with each other under exactOptionalPropertyTypes.
        await client.connect(new StreamableHTTPClientTransport(new URL(url), { fetch }) as Transport);
        return client;
      },
      stranger: async (url, message) => askAsStranger(url, await readFile(join(directory, 'certs', 'root.cert.pem'), 'utf8'), message),
    });
  } finally {
    for (const end of endings) await end().catch(() => undefined);
    await rm(place, { recursive: true, force: true });
  }
}

const askAsStranger = (url: string, ca: string, message: object | undefined): Promise<{ readonly status: number; readonly text: string }> =>
  new Promise((resolve, reject) => {
    const body = message === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' } };
    const sent = request(url, { ca, agent: false, ...body }, (response) => {
      text(response).then((answer) => resolve({ status: response.statusCode ?? 0, text: answer }), reject);
    });
    sent.on('error', reject).end(message === undefined ? undefined : JSON.stringify(message));
  });

/** The text of a tool's answer. */
export const textOf = (result: unknown): string => (result as { content: readonly { text?: string }[] }).content[0]?.text ?? '';
