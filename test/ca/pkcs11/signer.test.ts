import { verify } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openOrMakeTokenSigner, openTokenSigner } from '../../../ca/pkcs11/signer.ts';
import type { TokenSigner } from '../../../ca/pkcs11/signer.ts';
import { parseKeyUri } from '../../../ca/pkcs11/uri.ts';
import { Token } from '../../../ca/pkcs11/token.ts';
import { publicKeyOf } from '../../../ca/x509/algorithm.ts';
import { codeOfRefusal } from '../../support/authority.ts';
import { createSoftToken, isSoftHsmInstalled } from '../../support/softhsm.ts';
import type { SoftToken } from '../../support/softhsm.ts';

describe.skipIf(!isSoftHsmInstalled())('a key on a token', () => {
  let token: SoftToken;
  let signer: TokenSigner;
  beforeAll(async () => {
    token = createSoftToken();
    signer = await openOrMakeTokenSigner(token.uri('issuing'), 'p256');
  });
  afterAll(() => {
    signer.close();
    token.remove();
  });

  const data = Buffer.from('what is to be signed');

  it('signs what OpenSSL verifies: P-256, P-384 and RSA', async () => {
    expect(verify('sha256', data, publicKeyOf(signer.spki), await signer.sign(data))).toBe(true);
    const p384 = await openOrMakeTokenSigner(token.uri('p384'), 'p384');
    expect(verify('sha384', data, publicKeyOf(p384.spki), await p384.sign(data))).toBe(true);
    const rsa = await openOrMakeTokenSigner(token.uri('rsa'), 'rsa3072');
    expect(verify('sha256', data, publicKeyOf(rsa.spki), await rsa.sign(data))).toBe(true);
    expect([signer.algorithm, p384.algorithm, rsa.algorithm]).toEqual(['p256', 'p384', 'rsa3072']);
  });

  it('cannot be extracted, and is found again', async () => {
    const again = await openOrMakeTokenSigner(token.uri('issuing'), 'p256');
    expect(Buffer.from(again.spki).equals(signer.spki)).toBe(true);
    const own = await Token.open(parseKeyUri(token.uri('issuing')), {});
    const attributes = await own.use((session) => own.find(session).privateKey?.getAttribute({ extractable: null, sensitive: null, token: null }));
    expect(attributes).toEqual({ extractable: false, sensitive: true, token: true });
    await expect(own.use((session) => own.find(session).privateKey?.getAttribute({ value: null }))).rejects.toMatchObject({ code: 'ERR_KEY_TOKEN' });
  });

  it('is asked once after another: twenty signatures at once', async () => {
    const signatures = await Promise.all(Array.from({ length: 20 }, (_, index) => signer.sign(Buffer.from([index]))));
    expect(signatures.every((signature, index) => verify('sha256', Buffer.from([index]), publicKeyOf(signer.spki), signature))).toBe(true);
  });

  it('signs again after every session was lost', async () => {
    const other = await Token.open(parseKeyUri(token.uri('issuing')), {});
    await other.use((session) => session.slot.closeAll());
    expect(verify('sha256', data, publicKeyOf(signer.spki), await signer.sign(data))).toBe(true);
  });

  it('takes the PIN as passphrase where the URI names no file', async () => {
    signer.close();
    const uri = token.uri('issuing', { pinFile: undefined });
    expect((await openTokenSigner(uri, { pin: token.pin })).algorithm).toBe('p256');
  });

  it.each([
    ['another PIN', 'ERR_KEY_PASSPHRASE', (t: SoftToken) => openTokenSigner(t.uri('issuing', { pinFile: undefined }), { pin: '999999' })],
    ['no PIN', 'ERR_KEY_PASSPHRASE', (t: SoftToken) => openTokenSigner(t.uri('issuing', { pinFile: undefined }))],
    ['a PIN file that others may read', 'ERR_KEY_MODE', (t: SoftToken) => {
      const file = join(t.directory, 'open-pin');
      writeFileSync(file, t.pin);
      chmodSync(file, 0o644);
      return openTokenSigner(t.uri('issuing', { pinFile: file }));
    }],
    ['a key that is not there', 'ERR_KEY_TOKEN', (t: SoftToken) => openTokenSigner(t.uri('nothing'))],
    ['another token', 'ERR_KEY_TOKEN', (t: SoftToken) => openTokenSigner(t.uri('issuing').replace('token=sallyport', 'token=other'))],
    ['a library that is none', 'ERR_KEY_TOKEN', (t: SoftToken) => openTokenSigner(t.uri('issuing').replace(t.modulePath, '/etc/hostname'))],
    ['another algorithm than it has', 'ERR_KEY_ALGORITHM', (t: SoftToken) => openOrMakeTokenSigner(t.uri('issuing'), 'p384')],
    ['an algorithm that tokens have not', 'ERR_KEY_ALGORITHM', (t: SoftToken) => openOrMakeTokenSigner(t.uri('issuing'), 'ml-dsa-65')],
  ] as const)('is refused with a code: %s', async (_name, code, work) => {
    // While one session is logged in, the others of the process are too, whatever the PIN.
    const other = await Token.open(parseKeyUri(token.uri('issuing')), {});
    await other.use((session) => session.slot.closeAll());
    const error: unknown = await work(token).then(() => undefined, (refused: unknown) => refused);
    expect(await codeOfRefusal(Promise.reject(error))).toBe(code);
    expect(String(error)).not.toContain(token.pin);
  });
});
