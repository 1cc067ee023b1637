import { readFile, readdir, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { encodePem } from '../../ca/x509/pem.ts';
import { createGateway } from '../../src/app/create-gateway.ts';
import type { RunningGateway } from '../../src/app/create-gateway.ts';
import { createLogger } from '../../src/app/log.ts';
import { loadIdentity } from '../../src/bridge/identity.ts';
import type { Ran } from '../cli/run.ts';
import { newCsr } from '../support/authority.ts';
import { ServedPort } from '../support/served-port.ts';

let port: ServedPort;
let gateway: RunningGateway;
beforeAll(async () => {
  port = await ServedPort.make();
  const file = port.path('port', 'sallyport.yaml');
  await writeFile(file, (await readFile(file, 'utf8')).replace(/^ca:\n/m, 'ca:\n  profiles: { careful: { kind: agent, approval: required, names: ["agent-*"] } }\n'));
  gateway = await createGateway({ directory: port.path('port'), upstreams: { default: { command: ['true'] } }, listen: 'localhost:0', public: '127.0.0.1:0', enroll: 'localhost:0', logger: createLogger({ level: 'silent' }) });
  await gateway.listen();
});
afterAll(async () => {
  await gateway.close({ drainMs: 0 });
  await port.close();
});

/** Runs a command as somebody. */
const as = (user: string, ...argv: readonly string[]): Promise<Ran> => {
  port.place.user = user;
  return port.place.run(...argv);
};
const jsonAs = async <T>(user: string, ...argv: readonly string[]): Promise<T> => JSON.parse((await as(user, ...argv, '--json')).stdout) as T;
const newToken = async (agent: string): Promise<string> => (await as('alice', 'token', 'create', agent, '--profile', 'careful', '--ou', 'analytics')).stdout.trim();
const enroll = (agent: string, token: string, ...more: readonly string[]): Promise<Ran> => as('agent', 'enroll', gateway.enrollUrl ?? '', '--token', token, '--out', agent, ...more);
interface Listed {
  readonly id: string;
  readonly agent: string;
  readonly state: string;
}
const pending = async (agent: string): Promise<string> => (await jsonAs<readonly Listed[]>('bob', 'requests', 'list')).find((each) => each.agent === agent)?.id ?? '';
const beside = async (): Promise<readonly string[]> => (await readdir(port.place.directory)).filter((name) => name.includes('waiting'));

describe('a certificate that takes two people', () => {
  it('keeps the key of the agent until a second person has approved, and then completes the identity', async () => {
    const token = await newToken('agent-1');
    const first = await enroll('agent-1', token);
    expect([first.code, first.stdout]).toEqual([4, '']);
    expect(first.stderr).toMatch(/^error ERR_BRIDGE_PENDING: localhost:\d+ keeps request [0-9a-f]{16} until a second person has approved it/);
    expect(await beside()).toEqual(['.agent-1.waiting.sallyport']);
    expect((await enroll('agent-1', token)).code).toBe(4);

    const id = await pending('agent-1');
    const shown = await as('bob', 'requests', 'show', id);
    expect(shown.stdout).toMatch(new RegExp(`^request ${id} is pending\n  asked by    token:agent-1, with what cli:alice made, by token\n  from        (127\\.0\\.0\\.1|::1)\n`));
    expect(shown.stdout).toContain('  subject     CN=agent-1,OU=analytics\n  name        spiffe://acme.internal/agent/agent-1\n  for         clientAuth\n  lifetime    1d\n');
    expect(await as('alice', 'requests', 'approve', id)).toMatchObject({ code: 3, stderr: expect.stringContaining('ERR_REQUEST_FOUR_EYES: cli:alice asked for this certificate, or made the token') });
    expect(await as('bob', 'requests', 'approve', id)).toMatchObject({ code: 0, stdout: expect.stringMatching(new RegExp(`^approved ${id}: agent-1, serial [0-9a-f]{38}, valid until `)) });
    expect(await as('bob', 'requests', 'approve', id)).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_REQUEST_DECIDED') });

    expect(await enroll('agent-1', token)).toMatchObject({ code: 0, stdout: expect.stringMatching(/^enrolled agent-1: serial /) });
    expect(await beside()).toEqual([]);
    expect(await loadIdentity(port.path('agent-1'))).toMatchObject({ name: 'agent-1' });
    expect((await jsonAs<readonly Listed[]>('bob', 'requests', 'list', '--state', 'all')).map(({ agent, state }) => [agent, state])).toEqual([['agent-1', 'collected']]);
  });

  it('waits with --wait, and says for what', async () => {
    const waiting = enroll('agent-2', await newToken('agent-2'), '--wait', '1m');
    await vi.waitFor(async () => expect(await gateway.deployment.authority.pendingRequests()).toHaveLength(1), { timeout: 10_000, interval: 20 });
    await gateway.deployment.authority.approveRequest((await gateway.deployment.authority.pendingRequests())[0]?.id ?? '', { actor: 'cli:bob' });
    expect(await waiting).toMatchObject({ code: 0, stderr: expect.stringMatching(/^waiting for a second person to approve request [0-9a-f]{16}, until /) });
  });

  it('tells whoever asked why it was denied, and drops the key', async () => {
    const token = await newToken('agent-3');
    await enroll('agent-3', token);
    expect(await as('bob', 'requests', 'deny', await pending('agent-3'), '--reason', 'nobody ordered it')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^denied [0-9a-f]{16} of agent-3\n$/) });
    expect(await enroll('agent-3', token)).toMatchObject({ code: 1, stderr: expect.stringContaining('nobody ordered it') });
    expect(await beside()).toEqual([]);
  });

  it('holds for an operator who issues, too', async () => {
    await writeFile(port.path('agent-4.csr'), encodePem('CERTIFICATE REQUEST', newCsr()));
    const issue = () => as('alice', 'issue', 'agent-4', '--profile', 'careful', '--csr', 'agent-4.csr');
    const asked = await issue();
    expect([asked.code, asked.stderr]).toEqual([4, expect.stringMatching(/^error ERR_REQUEST_PENDING: the request [0-9a-f]{16} waits for a second person; approve it with sallyport requests approve /)]);
    await as('bob', 'requests', 'approve', await pending('agent-4'));
    expect(await issue()).toMatchObject({ code: 0, stdout: expect.stringMatching(/^-----BEGIN CERTIFICATE-----/) });
    expect(await as('alice', 'issue', 'agent-5', '--profile', 'careful', '--out', 'agent-5')).toMatchObject({ code: 2, stderr: expect.stringContaining('give a certificate signing request') });
  });
});

it('shows profiles with their rules', async () => {
  const { stdout } = await as('bob', 'profiles', 'list');
  expect(stdout.split('\n').map((line) => line.split(/ {2,}/).slice(0, 2))).toEqual([['NAME', 'KIND'], ['agent', 'agent'], ['agent-spiffe', 'agent-spiffe'], ['server', 'server'], ['short-lived', 'agent'], ['console-user', 'console-user'], ['careful', 'agent'], ['']]);
  expect(await jsonAs('bob', 'profiles', 'show', 'careful')).toMatchObject({ builtIn: false, names: ['agent-*'], approval: 'required', organizationalUnits: null, mayIssue: ['operator', 'token', 'est', 'acme', 'renewal', 'api'] });
  expect((await as('bob', 'profiles', 'show', 'nobody')).code).toBe(2);
});

it('certifies a person, whom a browser takes by PKCS#12', async () => {
  expect((await as('alice', 'issue', 'carol', '--profile', 'console-user', '--ou', 'admins', '--email', 'carol@acme.example', '--out', 'carol')).code).toBe(0);
  expect((await gateway.deployment.authority.certificates({ agent: 'carol' }))[0]).toMatchObject({ uri: 'spiffe://acme.internal/user/carol', subject: 'CN=carol,OU=admins' });
  expect(await as('alice', 'issue', 'carol', '--out', 'carol-agent')).toMatchObject({ code: 2, stderr: expect.stringContaining('"carol" is the name of a person') });
});
