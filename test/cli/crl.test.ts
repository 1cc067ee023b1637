import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodePem } from '../../ca/x509/pem.ts';
import { parseCrl } from '../../ca/x509/crl.ts';
import { Workplace } from './run.ts';

let place: Workplace;
beforeAll(async () => {
  place = await Workplace.make();
  place.env['SALLYPORT_DIR'] = 'port';
  await place.json('init', '--dir', 'port', '--name', 'Acme', '--trust-domain', 'acme.internal');
  const file = place.path('port', 'sallyport.yaml');
  const config = await readFile(file, 'utf8');
  await writeFile(file, config.replace('\nca:\n', '\npublicUrl: http://pki.acme.internal:8080\nca:\n  crl: { partitions: 2, delta: true }\n'));
  await place.json('issue', 'leaver');
  await place.json('revoke', 'leaver');
});
afterAll(() => place.remove());

const failing = async (...argv: readonly string[]): Promise<string> => {
  const { code, stderr } = await place.run('crl', ...argv);
  expect(code).toBe(2);
  return stderr.split('\n')[0] ?? '';
};

describe('crl, where there are several', () => {
  it('lists those of every CA, with what each is and until when it is good', async () => {
    const rows = JSON.parse((await place.run('crl', '--list', '--json')).stdout) as readonly Record<string, unknown>[];
    expect(rows.map(({ ca, partition, partitions, kind }) => [ca, partition, partitions, kind])).toEqual([
      ['root', null, 1, 'complete'],
      // The server's certificate was issued before.
      ...[[null, 1], [0, 2], [1, 2]].flatMap(([partition, partitions]) => ['complete', 'delta'].map((kind) => ['issuing', partition, partitions, kind])),
    ]);
    expect(rows.at(-1)).toMatchObject({ path: '/crl/issuing/2/1.delta.crl', baseCrlNumber: expect.stringMatching(/^\d+$/) as string });
    const { stdout } = await place.run('crl', '--list');
    expect(stdout).toMatch(/^CA +PARTITION +KIND +NUMBER +ENTRIES +THIS UPDATE +NEXT UPDATE\nroot +all +complete +1 +0 +\S+Z +\S+Z\n/);
    expect(stdout).toMatch(/\nissuing +1 of 2 +delta from \d+ +\d+ +[01] +/);
  });

  it('writes all that certificates may name, or the one that is asked for', async () => {
    const all = decodePem((await place.run('crl')).stdout, 'X509 CRL').map(({ der }) => parseCrl(der));
    expect(all.map(({ issuingDistributionPoint }) => issuingDistributionPoint?.uris?.[0])).toEqual([undefined, 'http://pki.acme.internal:8080/crl/issuing/2/0.crl', 'http://pki.acme.internal:8080/crl/issuing/2/1.crl']);
    // On that of everything, and on its own.
    expect(all.reduce((sum, { entryCount }) => sum + entryCount, 0)).toBe(2);
    expect(await place.json('crl', '--out', 'one.crl', '--format', 'der', '--partition', '1/2')).toMatchObject({ ca: 'issuing' });
    expect(parseCrl(new Uint8Array(await readFile(place.path('one.crl')))).issuingDistributionPoint?.uris).toEqual(['http://pki.acme.internal:8080/crl/issuing/2/1.crl']);
    expect(parseCrl((await place.run('crl', '--partition', '0', '--delta')).stdout).baseCrlNumber).toBeGreaterThan(0n);
  });

  it('says what cannot be written, and how to ask', async () => {
    expect(await failing('--format', 'der')).toContain('the issuing CA has 3 CRLs, and a DER file holds one: name it with --partition');
    expect(await failing('--partition', '2')).toContain('the issuing CA has no partition 2: see sallyport crl --list');
    expect(await failing('--partition', 'x')).toContain('x is not a partition: write 3, or 3/16');
    expect(await failing('--ca', 'root', '--partition', '0')).toContain('the root CA has no partition 0');
  });
});
