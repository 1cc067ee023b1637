import { X509Certificate, createPrivateKey } from 'node:crypto';
import { cp, readFile, readdir, rename, writeFile } from 'node:fs/promises';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { createGateway } from '../../src/app/create-gateway.ts';
import { createLogger } from '../../src/app/log.ts';
import { readServerIdentity } from '../../src/app/server-identity.ts';
import { Workplace } from '../cli/run.ts';

const dayMs = 86_400_000;
const places: Workplace[] = [];
let place: Workplace;
beforeEach(async () => {
  place = await Workplace.make();
  places.push(place);
  place.env['SALLYPORT_DIR'] = 'port';
  expect((await place.run('init', '--dir', 'port', '--host', 'gateway.acme.internal', '--host', 'localhost', '--host', '10.0.0.5')).code).toBe(0);
});
afterAll(() => Promise.all(places.map((each) => each.remove())));

const keyFile = (): string => place.path('port', 'keys', 'server.key.pem');
const certificate = async (): Promise<X509Certificate> => new X509Certificate(await readFile(place.path('port', 'certs', 'server.cert.pem')));

/** Opens a gateway so many days from now and closes it again; answers what it logged. */
const openAfter = async (days: number): Promise<string> => {
  const lines: string[] = [];
  const gateway = await createGateway({
    directory: place.path('port'), upstreams: { default: { command: ['true'] } }, clock: { now: () => new Date(Date.now() + days * dayMs) },
    logger: createLogger({ level: 'info', destination: { write: (line) => void lines.push(line) } }),
  });
  await gateway.close({ drainMs: 0 });
  return lines.join('');
};

describe('the certificate of the gateway', () => {
  it('stays as it is until two thirds of its life are over', async () => {
    const before = await certificate();
    await openAfter(59);
    expect((await certificate()).fingerprint256).toBe(before.fingerprint256);
  });

  it('is renewed then, for the same hosts and with a new key, and the inventory and the audit log know it', async () => {
    const before = await certificate();
    const key = await readFile(keyFile(), 'utf8');
    // Two thirds and at most a twentieth of ninety days.
    expect(await openAfter(65)).toContain('server certificate renewed');
    expect(await readFile(keyFile(), 'utf8')).not.toBe(key);
    expect(await readdir(place.path('port', 'keys'))).not.toContain('server.next.key.pem');
    const after = await certificate();
    expect(after.serialNumber).not.toBe(before.serialNumber);
    expect(after.subjectAltName).toBe(before.subjectAltName);
    expect(after.subjectAltName).toBe('DNS:gateway.acme.internal, DNS:localhost, IP Address:10.0.0.5');
    expect(after.validToDate.getTime() - before.validToDate.getTime()).toBeGreaterThan(64 * dayMs);
    expect(after.checkPrivateKey(createPrivateKey(await readFile(keyFile())))).toBe(true);
    const serial = after.serialNumber.toLowerCase();
    expect((await place.run('inventory')).stdout).toContain(serial);
    const { stdout } = await place.run('audit', 'tail', '-n', '50', '--action', 'certificate.issued', '--json');
    expect(stdout.trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>)).toContainEqual(expect.objectContaining({ serial, actor: 'gateway' }));
  });

  it('has its key wherever a renewal that was killed left it, and the next start puts it in its place', async () => {
    const old = await readFile(keyFile(), 'utf8');
    await openAfter(65);
    // As it was between the renaming of the certificate and that of the key.
    await rename(keyFile(), place.path('port', 'keys', 'server.next.key.pem'));
    await writeFile(keyFile(), old, { mode: 0o600 });
    const matches = ({ key, cert }: { key: unknown; cert: unknown }): boolean => new X509Certificate(String(cert)).checkPrivateKey(createPrivateKey(String(key)));
    expect(matches(await readServerIdentity(place.path('port'), undefined))).toBe(true);
    await openAfter(66);
    expect(matches({ key: await readFile(keyFile()), cert: await readFile(place.path('port', 'certs', 'server.cert.pem')) })).toBe(true);
    // One that never got its certificate goes.
    await writeFile(place.path('port', 'keys', 'server.next.key.pem'), old, { mode: 0o600 });
    await openAfter(66);
    expect(await readdir(place.path('port', 'keys'))).not.toContain('server.next.key.pem');
  });

  it('of another CA is the operator’s affair: it is only said', async () => {
    const other = await Workplace.make();
    places.push(other);
    await other.run('init', '--dir', 'port');
    for (const file of ['certs/server.cert.pem', 'keys/server.key.pem']) await cp(other.path('port', file), place.path('port', file));
    const before = await certificate();
    expect(await openAfter(65)).toContain('server certificate of another CA ends soon');
    expect((await certificate()).fingerprint256).toBe(before.fingerprint256);
  });

  it('that cannot be read does not keep the gateway from saying so', async () => {
    await writeFile(place.path('port', 'certs', 'server.cert.pem'), 'garbage');
    await expect(openAfter(0)).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID' });
  });
});
