/** The calls of docs/api.md, word by word, at a gateway; only the port is another. */
import { execFile, execFileSync } from 'node:child_process';
import { appendFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createGateway } from '../../src/app/create-gateway.ts';
import type { RunningGateway } from '../../src/app/create-gateway.ts';
import { createLogger } from '../../src/app/log.ts';
import { commandsUnder } from '../docs/pages.ts';
import { ServedPort, fixtureCommand } from '../support/served-port.ts';

const absent = ['curl', 'openssl', 'jq'].filter((program) => {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' });
    return false;
  } catch (error) {
    // openssl has another word for it, which is no sign of absence.
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
});

let port: ServedPort;
let gateway: RunningGateway;
beforeAll(async () => {
  port = await ServedPort.make();
  await appendFile(port.path('port', 'sallyport.yaml'), 'admins:\n  - { role: admin, when: { uri: spiffe://acme.internal/agent/pki-admin } }\n');
  gateway = await createGateway({ directory: port.path('port'), upstreams: { default: { command: fixtureCommand } }, listen: 'localhost:0', public: '127.0.0.1:0', enroll: 'localhost:0', logger: createLogger({ level: 'silent' }) });
  await gateway.listen();
});
afterAll(async () => {
  await gateway.close({ drainMs: 0 });
  await port.close();
});

it.skipIf(absent.length > 0)(`answers what docs/api.md asks${absent.length > 0 ? ` (skipped: no ${absent.join(', ')} here)` : ''}`, async () => {
  const [issue = '', ...commands] = commandsUnder('docs/api.md', 'Calls');
  await port.issue(...(issue.replace(/^sallyport issue (\S+) --out \S+$/, '$1').split(' ') as [string]));
  await port.issue('nobody', '--ou', 'analytics');
  const answers: unknown[] = [];
  const run = async (command: string): Promise<string> => (await promisify(execFile)('bash', ['-c', command.replaceAll('https://localhost:8444', gateway.enrollUrl ?? '').replace(/^curl /, 'curl -sS ')], { cwd: port.place.directory })).stdout;
  for (const command of commands) {
    const stdout = await run(command);
    if (command.startsWith('curl ')) answers.push(JSON.parse(stdout));
  }
  expect(answers).toMatchObject([
    { id: 'spiffe://acme.internal/agent/pki-admin', roles: ['admin'] },
    { items: expect.arrayContaining([expect.objectContaining({ agent: 'pki-admin' })]) as unknown[], next: null },
    { certificate: { agent: 'agent-7', organizationalUnits: ['analytics'], status: 'live' } },
    { dryRun: false, count: 1, gateways: [{ connectionsCut: 0 }], missing: [] },
    { dryRun: true },
    { agent: 'agent-8', token: expect.stringMatching(/^sallyport1\./) as string },
    { ca: 'issuing' },
    { items: expect.arrayContaining([expect.objectContaining({ name: 'issueCertificate', outcome: 'allowed', actor: 'spiffe://acme.internal/agent/pki-admin', rule: 'admins[0]' })]) as unknown[] },
  ]);
  const caller = commands.find((command) => command.endsWith('/caller')) ?? '';
  expect(JSON.parse(await run(caller.replaceAll('pki-admin/', 'nobody/')))).toMatchObject({ status: 403, code: 'ERR_API_DENIED' });
  expect(JSON.parse(await run(caller.replace(/--cert \S+ --key \S+ /, '')))).toMatchObject({ error: { code: 'ERR_PEER_NO_CERTIFICATE' } });

  await port.issue('other', '--ou', 'analytics');
  const remotely = ['--server', gateway.enrollUrl ?? '', '--identity', 'pki-admin'];
  expect(await port.place.json('inventory', '--agent', 'nobody', ...remotely)).toEqual(await port.place.json('inventory', '--agent', 'nobody'));
  expect((await port.place.run('revoke', '--ou', 'analytics', '--issued-before', '2100-01-01', ...remotely)).code).toBe(3);
  const revoked = await port.place.run('revoke', 'nobody', '--reason', 'superseded', ...remotely);
  expect(revoked).toMatchObject({ code: 0, stdout: expect.stringMatching(/^revoked nobody, serial [0-9a-f]+ \(superseded\)\n {2}\S+ cut \d connections?\n$/) as string });
  expect(await port.place.run('revoke', 'nobody', ...remotely)).toMatchObject({ code: 1, stderr: expect.stringContaining('error ERR_CA_ALREADY_REVOKED: ') as string });
  expect(await port.place.run('inventory', '--identity', 'pki-admin')).toMatchObject({ code: 2 });
  expect(await port.place.run('inventory', ...remotely.with(3, 'other'))).toMatchObject({ code: 3, stderr: expect.stringMatching(/ERR_API_DENIED[^]*roles are given under admins in sallyport\.yaml/) as string });

  await port.place.json('revoke', 'pki-admin');
  expect(JSON.parse(await run(caller))).toMatchObject({ error: { code: 'ERR_PEER_REVOKED' } });
});
