/** The main job from end to end, on real parts: a CA, a gateway, a real MCP server, two agents, one revocation. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import type { AuditEvent, CertificateRecord, Clock } from '../../ca/index.ts';
import { createGateway } from '../app/create-gateway.ts';
import type { RunningGateway } from '../app/create-gateway.ts';
import { createLogger } from '../app/log.ts';
import { enroll } from '../bridge/enroll.ts';
import { attempt, openStream } from './stranger.ts';
import type { Attempt, Credentials } from './stranger.ts';
import type { Transcript } from './transcript.ts';

export interface StoryOptions {
  /** Runs a sallyport command in this process: `init`, `issue`, `audit verify`. Answers exit code and standard output. */
  readonly command: (argv: readonly string[]) => Promise<{ readonly exit: number; readonly output: string }>;
  /** Program and arguments that run `sallyport` as a process of its own, for the bridge. */
  readonly bridge: readonly string[];
  /** The MCP server on stdio. */
  readonly server: readonly string[];
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

const upstream = 'default';

export const tellStory = async (transcript: Transcript, options: StoryOptions): Promise<void> => {
  const scratch = await mkdtemp(join(tmpdir(), 'sallyport-demo-'));
  const cleanUps: (() => Promise<unknown> | void)[] = [() => rm(scratch, { recursive: true, force: true })];
  try {
    await tell(transcript, options, scratch, cleanUps);
  } finally {
    for (const cleanUp of cleanUps.toReversed()) await cleanUp();
  }
};

const tell = async (transcript: Transcript, options: StoryOptions, scratch: string, cleanUps: (() => Promise<unknown> | void)[]): Promise<void> => {
  const directory = join(scratch, 'port');
  const mustRun = async (...argv: string[]): Promise<string> => {
    options.signal.throwIfAborted();
    const { exit, output } = await options.command(argv);
    if (exit !== 0) throw new Error(`sallyport ${argv.join(' ')} ended with ${exit}`);
    return output;
  };

  transcript.heading('A certificate authority, and a gateway in front of a real MCP server');
  await mustRun('init', '--dir', directory, '--name', 'Acme', '--trust-domain', 'acme.internal', '--host', 'localhost', '--json');
  const gateway = await createGateway({
    directory, clock: options.clock, logger: createLogger({ level: 'silent' }),
    listen: 'localhost:0', public: '127.0.0.1:0', enroll: 'localhost:0',
    upstreams: { [upstream]: { command: options.server } },
  });
  cleanUps.push(() => gateway.close({ drainMs: 500 }));
  await gateway.listen();
  const url = `${gateway.url}/mcp`;
  transcript.say(`root and issuing CA made, gateway at ${url}, behind it: ${options.server.map((word) => word.split(/[\\/]node_modules[\\/]/).at(-1)).join(' ')}`);

  transcript.heading('Two agents enroll, keys made on their side');
  const agents = {
    analyst: await enrollAgent(gateway, { name: 'ada', organizationalUnit: 'analytics', scratch, clock: options.clock }),
    operator: await enrollAgent(gateway, { name: 'otto', organizationalUnit: 'platform', scratch, clock: options.clock }),
  };
  transcript.say('ada  (OU analytics) → role analyst     otto (OU platform) → role operator');
  // Short enough to expire while the rest is shown.
  const late = await gateway.deployment.authority.issue({ agent: 'late', organizationalUnits: ['analytics'], ttl: 1, actor: 'demo' });
  const expiredAt = performance.now() + 2_000;

  transcript.heading('Both connect through the bridge with the official SDK client');
  const ada = await connect(options, url, agents.analyst.directory, cleanUps);
  const otto = await connect(options, url, agents.operator.directory, cleanUps);
  const [adaTools, ottoTools] = await Promise.all([toolNames(ada), toolNames(otto)]);
  transcript.say(`ada's tools/list:  ${adaTools.join(', ')}`);
  transcript.say(`otto's tools/list: ${ottoTools.join(', ')}`);
  transcript.expect('each agent lists only what it may call', adaTools.length > 0 && adaTools.length < ottoTools.length && !adaTools.includes('get-env') && ottoTools.includes('get-env'), `${adaTools.length} of ${ottoTools.length} tools for ada`);

  const allowed = await ada.callTool({ name: 'echo', arguments: { message: 'hello through two doors' } });
  const text = textOf(allowed.content);
  transcript.expect('an allowed call is answered', text.includes('hello through two doors'), `ada calls echo → ${JSON.stringify(text)}`);
  const denied = await ada.callTool({ name: 'get-env', arguments: {} }).then(() => 'answered', (error: unknown) => messageOf(error));
  const entry = await waitForEntry(gateway, (event) => event.action === 'request.decided' && event.outcome === 'denied' && event.name === 'get-env');
  transcript.expect('a call without a grant is denied', denied.includes('not found or not permitted') && entry?.reason === 'noGrant', `ada calls get-env → ${denied} (audit log: ${entry?.reason ?? 'nothing'}, roles ${entry?.roles?.join(', ') ?? 'none'})`);

  transcript.heading('Peers that do not get in');
  const trusted = { ca: await readFile(join(agents.analyst.directory, 'ca.pem'), 'utf8') };
  const own: Credentials = { ...trusted, cert: await readFile(join(agents.analyst.directory, 'cert.pem'), 'utf8'), key: await readFile(join(agents.analyst.directory, 'key.pem'), 'utf8') };
  refusal(transcript, 'no certificate', await attempt(url, trusted), 'ERR_PEER_NO_CERTIFICATE');
  refusal(transcript, 'a certificate of another CA', await attempt(url, { ...trusted, ...(await foreignIdentity(scratch, mustRun)) }), 'ERR_PEER_UNTRUSTED');
  await sleep(Math.max(0, expiredAt - performance.now()), undefined, { signal: options.signal });
  refusal(transcript, 'an expired certificate', await attempt(url, { ...trusted, cert: late.chain, key: pemOf(late) }), 'ERR_PEER_EXPIRED');

  transcript.heading("Ada's certificate is revoked while her stream is open");
  const stream = await openStream(url, own);
  cleanUps.push(() => stream.close());
  const ticket = stream.session();
  const before = performance.now();
  const { revoked } = await gateway.deployment.authority.revoke({ agent: 'ada' }, { reason: 'keyCompromise', actor: 'demo' });
  const endedAt = await Promise.race([stream.ended, sleep(5_000, undefined, { ref: false })]);
  transcript.expect('the open stream is cut', endedAt !== undefined, endedAt === undefined ? 'still open after 5 s' : `${(endedAt - before).toFixed(1)} ms after revoke was called, the durable row included`);
  const refused = await ada.callTool({ name: 'echo', arguments: { message: 'again' } }).then(() => 'answered', (error: unknown) => messageOf(error));
  transcript.expect('the next request is refused', refused.includes('revoked'), `ada calls echo → ${refused}`);
  const resumption = await attempt(url, { ...own, session: ticket });
  transcript.expect('resumption is refused', !resumption.resumed && resumption.code === 'ERR_PEER_REVOKED', `${ticket === undefined ? 'no ticket was given' : 'the ticket names nothing that could be resumed'} → ${resumption.code}: ${resumption.message}`);
  refusal(transcript, 'a new handshake', await attempt(url, own), 'ERR_PEER_REVOKED');
  const still = textOf((await otto.callTool({ name: 'echo', arguments: { message: 'still here' } })).content);
  transcript.expect('the other agent goes on working', still.includes('still here'), `otto calls echo → ${JSON.stringify(still)}`);

  transcript.heading('What the audit log says');
  const serials = new Set(revoked.map(({ serial }: CertificateRecord) => serial));
  await waitForEntry(gateway, (event) => event.action === 'handshake.refused' && event.reason === 'ERR_PEER_REVOKED');
  for (const event of (await entries(gateway)).filter(isTelling)) transcript.say(lineOf(event, serials));
  const verified = await options.command(['audit', 'verify', '--dir', directory]);
  transcript.expect('audit verify finds the record intact', verified.exit === 0, verified.output.trim());
};

const enrollAgent = async (
  gateway: RunningGateway, agent: { name: string; organizationalUnit: string; scratch: string; clock: Clock },
): Promise<{ directory: string }> => {
  const { authority } = gateway.deployment;
  const { token } = await authority.createToken({ agent: agent.name, organizationalUnits: [agent.organizationalUnit], actor: 'demo' });
  if (gateway.enrollUrl === undefined) throw new Error('the gateway does not listen for enrollment');
  const directory = join(agent.scratch, agent.name);
  await enroll({ url: gateway.enrollUrl, token, out: directory, clock: agent.clock });
  return { directory };
};

const connect = async (options: StoryOptions, url: string, identity: string, cleanUps: (() => Promise<unknown> | void)[]): Promise<Client> => {
  options.signal.throwIfAborted();
  const [command = process.execPath, ...args] = options.bridge;
  const client = new Client({ name: 'sallyport-demo', version: '1.0.0' });
  await client.connect(new StdioClientTransport({ command, args: [...args, 'connect', url, '--identity', identity], stderr: 'ignore' }));
  cleanUps.push(() => client.close());
  return client;
};

const foreignIdentity = async (scratch: string, mustRun: (...argv: string[]) => Promise<string>): Promise<{ cert: string; key: string }> => {
  const directory = join(scratch, 'elsewhere');
  const out = join(scratch, 'stranger');
  await mustRun('init', '--dir', directory, '--name', 'Elsewhere', '--trust-domain', 'acme.internal', '--json');
  await mustRun('issue', 'ada', '--ou', 'analytics', '--dir', directory, '--out', out, '--json');
  return { cert: await readFile(join(out, 'cert.pem'), 'utf8'), key: await readFile(join(out, 'key.pem'), 'utf8') };
};

const refusal = (transcript: Transcript, what: string, { status, code, message }: Attempt, expected: string): void => {
  transcript.expect(`${what} is refused`, status === 403 && code === expected, `HTTP ${status ?? '-'} ${code}: ${message}`);
};

const toolNames = async (client: Client): Promise<readonly string[]> => (await client.listTools()).tools.map(({ name }) => name).sort();

const textOf = (content: unknown): string => (Array.isArray(content) ? content.map((part: { text?: unknown }) => (typeof part.text === 'string' ? part.text : '')).join('') : '');

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const pemOf = (issued: { readonly privateKey: { export(options: { type: 'pkcs8'; format: 'pem' }): string | Buffer } | undefined }): string => {
  if (issued.privateKey === undefined) throw new Error('the authority made no key');
  return issued.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
};

type Entry = Omit<AuditEvent, 'time'> & { readonly time: string };

const entries = async (gateway: RunningGateway): Promise<readonly Entry[]> =>
  (await gateway.deployment.store.audit.read({ from: 0, limit: 1_000 })).map(({ event }) => JSON.parse(event) as Entry);

/** Decisions are written within a bounded delay. */
const waitForEntry = async (gateway: RunningGateway, matches: (entry: Entry) => boolean): Promise<Entry | undefined> => {
  for (let look = 0; look < 40; look += 1) {
    const found = (await entries(gateway)).findLast(matches);
    if (found !== undefined) return found;
    await sleep(25);
  }
  return undefined;
};

const isTelling = ({ action, method }: Entry): boolean => action !== 'crl.published' && !(action === 'request.decided' && (method === undefined || !method.includes('/call')));

const lineOf = (event: Entry, revoked: ReadonlySet<string>): string => {
  const who = event.agent ?? event.subject ?? event.actor ?? '-';
  const what = [event.action, event.method, event.name].filter((part) => part !== undefined).join(' ');
  const mark = event.serial !== undefined && revoked.has(event.serial) ? '*' : ' ';
  return `${event.time.slice(11, 23)} ${event.outcome.padEnd(7)} ${mark} ${who}: ${what}${event.reason === undefined ? '' : ` (${event.reason})`}`;
};
