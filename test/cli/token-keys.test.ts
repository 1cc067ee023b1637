/** Keys of root and issuing CA on a token, from which nobody can take them: SoftHSM2 in place of a device. */
import { execFile } from 'node:child_process';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Token } from '../../ca/pkcs11/token.ts';
import { parseKeyUri } from '../../ca/pkcs11/uri.ts';
import { openDeployment } from '../../src/app/deployment.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createSoftToken, isSoftHsmInstalled } from '../support/softhsm.ts';
import type { SoftToken } from '../support/softhsm.ts';
import { Workplace } from './run.ts';

if (!isSoftHsmInstalled()) console.warn('skipped: SoftHSM2 or graphene-pk11 is not installed, so no key is kept on a token');

describe.skipIf(!isSoftHsmInstalled())('a deployment whose CA keys are on a token', { timeout: 30_000 }, () => {
  let place: Workplace;
  let token: SoftToken;
  beforeAll(async () => {
    token = createSoftToken();
    place = await Workplace.make();
    await place.json('init', '--dir', 'port', '--root-key-uri', token.uri('root'), '--root-key-algorithm', 'p384', '--key-uri', token.uri('issuing'));
  });
  afterAll(async () => {
    await place.remove();
    token.remove();
  });

  const openssl = async (...args: readonly string[]): Promise<string> => (await promisify(execFile)('openssl', [...args], { cwd: place.directory })).stdout;

  it('keeps the key URIs, and no key, in the data directory', async () => {
    expect(await readFile(place.path('port', 'keys', 'issuing.key.pem'), 'utf8')).toBe(`${token.uri('issuing')}\n`);
    const files = await readdir(place.path('port', 'keys'));
    expect(files.toSorted()).toEqual(['audit.key.pem', 'issuing.key.pem', 'root.key.pem', 'server.key.pem']);
    for (const file of files) expect(await readFile(place.path('port', 'keys', file), 'utf8')).not.toContain(token.pin);
  });

  it('issues, revokes, publishes CRLs and answers OCSP, as openssl finds', async () => {
    await place.json('issue', 'agent-7', '--dir', 'port', '--out', 'agent-7');
    const { crl: root } = await place.json('crl', '--ca', 'root', '--dir', 'port');
    const { crl } = await place.json('crl', '--dir', 'port');
    await writeFile(place.path('crls.pem'), `${String(crl)}${String(root)}`);
    expect(await openssl('verify', '-x509_strict', '-crl_check_all', '-CAfile', 'port/certs/root.cert.pem', '-untrusted', 'port/certs/issuing.cert.pem', '-CRLfile', 'crls.pem', 'agent-7/cert.pem')).toBe('agent-7/cert.pem: OK\n');

    const deployment = await openDeployment(place.path('port'), { clock: systemClock, randomness: systemRandomness });
    try {
      await openssl('ocsp', '-issuer', 'port/certs/issuing.cert.pem', '-cert', 'agent-7/cert.pem', '-reqout', 'request.der', '-no_nonce');
      const ask = async (): Promise<string> => {
        const answer = await deployment.authority.ocsp?.respond(await readFile(place.path('request.der')));
        await writeFile(place.path('answer.der'), answer?.der ?? '');
        return openssl('ocsp', '-respin', 'answer.der', '-issuer', 'port/certs/issuing.cert.pem', '-cert', 'agent-7/cert.pem', '-CAfile', 'port/certs/root.cert.pem', '-no_nonce');
      };
      expect(await ask()).toMatch(/agent-7\/cert\.pem: good/);
      // Every session with the token ends, as when a device restarts.
      const other = await Token.open(parseKeyUri(token.uri('issuing')), {});
      await other.use((session) => session.slot.closeAll());
      await deployment.authority.revoke({ agent: 'agent-7' }, { reason: 'keyCompromise' });
      expect((await deployment.authority.publishCrl('issuing')).entries).toBe(1);
      expect(await ask()).toMatch(/agent-7\/cert\.pem: revoked/);
    } finally {
      await deployment.close();
    }
  });

  it('goes on with a key of its own on the token when the issuing CA is replaced', async () => {
    await place.json('ca', 'rotate', 'prepare', 'issuing', '--key-uri', token.uri('issuing-2'), '--dir', 'port');
    await place.json('ca', 'rotate', 'activate', 'issuing-2', '--dir', 'port');
    await place.json('issue', 'agent-8', '--dir', 'port', '--out', 'agent-8');
    expect(await readFile(place.path('port', 'keys', 'issuing-2.key.pem'), 'utf8')).toBe(`${token.uri('issuing-2')}\n`);
    expect(await openssl('verify', '-x509_strict', '-CAfile', 'port/certs/root.cert.pem', '-untrusted', 'port/certs/issuing-2.cert.pem', 'agent-8/cert.pem')).toBe('agent-8/cert.pem: OK\n');
  });
});
