import { chmod, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunningGateway } from '../../src/app/create-gateway.ts';
import type { DoctorReport } from '../../src/doctor/doctor.ts';
import { systemClock } from '../../src/system.ts';
import { checkIn, outcomes, Port } from './port.ts';

let port: Port;
let gateway: RunningGateway;
beforeAll(async () => {
  port = await Port.make();
  gateway = await port.serve();
  port.place.env['SALLYPORT_DIR'] = 'port';
  const file = port.place.path('port', 'sallyport.yaml');
  const publicListener = new URL(gateway.publicUrl ?? '').host;
  await writeFile(file, (await readFile(file, 'utf8')).replace('127.0.0.1:8080 ', `${publicListener} `));
});
afterAll(async () => {
  await gateway.close();
  await port.remove();
});

const json = async (): Promise<{ readonly code: number; readonly report: DoctorReport }> => {
  const { code, stdout } = await port.place.run('doctor', '--url', gateway.url, '--json');
  return { code, report: JSON.parse(stdout) as DoctorReport };
};

describe('sallyport doctor', () => {
  it('says one line for each check of a shut gate, and exits 0', async () => {
    const { code, stdout, stderr } = await port.place.run('doctor', '--url', `${gateway.url}/mcp`);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('✔ an expired certificate');
    expect(stdout).not.toContain('✘');
    expect(stdout).toMatch(/0 failed.*: the gate at localhost:\d+ is shut\n$/);
  });

  it('gives the same as JSON', async () => {
    const { code, report } = await json();
    expect(code).toBe(0);
    expect(report.ok).toBe(true);
    expect(Object.keys(report.checks[0] ?? {})).toEqual(['id', 'title', 'outcome', 'detail', 'next']);
  });

  it('exits 3 when a key may be read by others, and examines what it can without the keys', async () => {
    const key = port.place.path('port', 'keys', 'issuing.key.pem');
    await chmod(key, 0o644);
    try {
      const { code, report } = await json();
      expect(code).toBe(3);
      expect(outcomes(report, 'fail')).toEqual(['dataDirectory', 'keyModes']);
      expect(checkIn(report, 'keyModes')).toMatchObject({ detail: `${key} is 0644`, next: `chmod 600 ${key}; replace a key that someone else may have read` });
      expect(checkIn(report, 'dataDirectory').detail).toMatch(/^ERR_KEY_MODE: /);
      expect(checkIn(report, 'noCertificate').outcome).toBe('pass');
      expect(checkIn(report, 'foreignAuthority').outcome).toBe('pass');
      expect(checkIn(report, 'audit').outcome).toBe('pass');
      expect(checkIn(report, 'revoked')).toMatchObject({ outcome: 'skip', detail: 'the data directory does not open' });
      const { stdout } = await port.place.run('doctor', '--url', gateway.url);
      expect(stdout).toContain(`✘ private keys are private`);
      expect(stdout).toContain(`→ chmod 600 ${key}`);
    } finally {
      await chmod(key, 0o600);
    }
  });

  it('exits 3 when a directory is open, and still tries the gate', async () => {
    const keys = port.place.path('port', 'keys');
    await chmod(keys, 0o755);
    try {
      const { code, report } = await json();
      expect({ code, failed: outcomes(report, 'fail'), gate: checkIn(report, 'revoked').outcome }).toEqual({ code: 3, failed: ['keyModes'], gate: 'pass' });
    } finally {
      await chmod(keys, 0o700);
    }
  });

  it('exits 3 when the gateway does not run', async () => {
    const { code, stdout } = await port.place.run('doctor', '--url', 'https://localhost:1');
    expect(code).toBe(3);
    expect(stdout).toContain('gateway not reachable at https://localhost:1 (ECONNREFUSED)');
    expect(stdout).toContain('→ start it with sallyport serve');
  });

  it('finds stale CRLs and an expired server certificate once time has passed', async () => {
    const later = (days: number) => ({ now: () => new Date(systemClock.now().getTime() + days * 86_400_000) });
    expect(outcomes(await port.doctor({ url: 'https://localhost:1', clock: later(2) }), 'fail')).toEqual(['gateway', 'issuingCrl', 'rootCrl']);
    const aged = await port.doctor({ url: 'https://localhost:1', clock: later(91) });
    expect(checkIn(aged, 'serverCertificate')).toMatchObject({ outcome: 'fail', detail: expect.stringMatching(/^expired on /) as string });
    expect(checkIn(await port.doctor({ url: 'https://localhost:1', clock: later(9.5 * 365) }), 'issuingCertificate').outcome).toBe('warn');
    expect(checkIn(await port.doctor({ url: 'https://localhost:1', clock: later(21 * 366) }), 'rootCertificate').outcome).toBe('fail');
  });

  it('says that the running gateway shows another certificate than the one on disk', async () => {
    expect((await port.place.run('issue', 'localhost', '--profile', 'server', '--out', 'other')).code).toBe(0);
    const file = port.place.path('port', 'certs', 'server.cert.pem');
    const inUse = await readFile(file);
    // Without its key the gateway cannot take it up.
    await writeFile(file, await readFile(port.place.path('other', 'cert.pem')));
    try {
      const { code, report } = await json();
      expect(code).toBe(0);
      expect(checkIn(report, 'gateway')).toMatchObject({ outcome: 'warn', detail: `${gateway.url} shows another certificate than certs/server.cert.pem` });
    } finally {
      await writeFile(file, inUse);
    }
  });

  it('ends with what is missing: a directory 2, a passphrase 1, an https URL 2', async () => {
    expect((await port.place.run('doctor', '--dir', 'nowhere')).code).toBe(2);
    expect((await port.place.run('doctor', '--url', 'localhost:8443')).code).toBe(2);
    await writeFile(port.place.path('secret'), 'open sesame');
    expect((await port.place.run('init', '--dir', 'locked', '--passphrase-file', 'secret')).code).toBe(0);
    const locked = await port.place.run('doctor', '--dir', 'locked');
    expect(locked.code).toBe(1);
    expect(locked.stderr).toMatch(/^error ERR_KEY_PASSPHRASE: /);
    expect((await port.place.run('doctor', '--dir', 'locked', '--url', 'https://localhost:1', '--passphrase-file', 'secret')).stdout).toContain('✔ the data directory opens');
  });

  it('shows examples', async () => {
    const { code, stdout } = await port.place.run('doctor', '--help');
    expect(code).toBe(0);
    expect(stdout).toContain('$ sallyport doctor --json');
  });
});
