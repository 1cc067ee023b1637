import { rename, unlink } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Workplace } from './run.ts';

let place: Workplace;
beforeAll(async () => {
  place = await Workplace.make();
  expect((await place.run('init', '--dir', 'port', '--name', 'Acme', '--trust-domain', 'acme.internal')).code).toBe(0);
  place.env['SALLYPORT_DIR'] = 'port';
  expect((await place.run('issue', 'agent-7', '--ou', 'analytics')).code).toBe(0);
});
afterAll(() => place.remove());

const inStore = (statement: string): void => {
  const database = new DatabaseSync(place.path('port', 'sallyport.db'));
  database.exec(statement);
  database.close();
};

it('says that a fresh authority is clean, without any key', async () => {
  await rename(place.path('port', 'keys'), place.path('keys'));
  try {
    const { code, stdout, stderr } = await place.run('ca', 'audit');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toBe('clean: 4 certificates, 2 CRLs with 0 entries, 4 issuances in the audit log\n');
    expect(await place.json('ca', 'audit')).toEqual({ ok: true, certificates: 4, crls: 2, crlEntries: 0, logged: 4, counts: {}, findings: [] });
    expect(await place.json('ca', 'audit', '--no-log')).toMatchObject({ ok: true, logged: null });
  } finally {
    await rename(place.path('keys'), place.path('port', 'keys'));
  }
});

it('names what is wrong, says what to do, and ends with 3', async () => {
  inStore("UPDATE certificate SET organizational_units = '[\"admins\"]' WHERE agent = 'agent-7'");
  const { code, stdout } = await place.run('ca', 'audit');
  expect(code).toBe(3);
  expect(stdout).toMatch(/^1 finding: 4 certificates, /);
  expect(stdout).toMatch(/\n {2}rowDiffers serial [0-9a-f]{38} \(agent-7\): organizational units: the row says \["admins"\], the certificate \["analytics"\]\n {4}→ somebody wrote into the database/);
  const machine = await place.run('ca', 'audit', '--json');
  expect(machine.code).toBe(3);
  expect(JSON.parse(machine.stdout)).toMatchObject({ ok: false, counts: { rowDiffers: 1 }, findings: [{ code: 'rowDiffers', agent: 'agent-7', next: expect.stringContaining('restore it') as string }] });
});

it('prints no control characters of a row', async () => {
  inStore("UPDATE certificate SET common_name = 'a' || char(27) || '[2J' WHERE agent = 'agent-7'");
  const { stdout } = await place.run('ca', 'audit');
  expect(stdout).toContain('common name: the row says ');
  expect(stdout).not.toContain('\u001b');
});

it('needs the CA certificates beside the store', async () => {
  for (const name of ['root', 'issuing', 'server']) await unlink(place.path('port', 'certs', `${name}.cert.pem`));
  const { code, stderr } = await place.run('ca', 'audit');
  expect(code).toBe(1);
  expect(stderr).toContain('there is no CA certificate in ');
});
