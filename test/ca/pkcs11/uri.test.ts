import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CaError } from '../../../ca/errors.ts';
import { isKeyUri, keyUriName, parseKeyUri } from '../../../ca/pkcs11/uri.ts';

const refusal = (text: string): string => {
  try {
    parseKeyUri(text);
    return 'read';
  } catch (error) {
    if (error instanceof CaError) return `${error.code} ${error.message}`;
    throw error;
  }
};

describe('a key URI', () => {
  it('names token, key, library and the file with the PIN', () => {
    expect(parseKeyUri('pkcs11:token=Acme%20CA;serial=42;object=issuing;id=%01%ff;type=private?module-path=/usr/lib/p11.so&pin-source=file:///etc/pin\n')).toEqual({
      text: 'pkcs11:token=Acme%20CA;serial=42;object=issuing;id=%01%ff;type=private?module-path=/usr/lib/p11.so&pin-source=file:///etc/pin',
      token: { label: 'Acme CA', serial: '42', manufacturer: undefined, model: undefined },
      object: 'issuing',
      id: Buffer.from([1, 255]),
      modulePath: '/usr/lib/p11.so',
      pinFile: '/etc/pin',
    });
  });

  it('shows itself without the places in its query', () => {
    expect(keyUriName(parseKeyUri('pkcs11:token=ca;object=root?module-path=/p11.so&pin-source=/etc/pin'))).toBe('pkcs11:token=ca;object=root');
  });

  it.each([
    ['pkcs11:object=root?module-path=/p11.so', 'it names no token; add token=LABEL or serial=NUMBER'],
    ['pkcs11:token=ca?module-path=/p11.so', 'it names no key; add object=LABEL or id=%01'],
    ['pkcs11:token=ca;object=root', 'it names no library; add ?module-path=/usr/lib/softhsm/libsofthsm2.so or the like, the whole path'],
    ['pkcs11:token=ca;object=root?module-path=p11.so', 'it names no library; add ?module-path=/usr/lib/softhsm/libsofthsm2.so or the like, the whole path'],
    ['pkcs11:token=ca;object=root?module-path=/p11.so&pin-value=1234', 'it holds the PIN itself; put the PIN into a file of mode 600 and name it with pin-source'],
    ['pkcs11:token=ca;object=root?module-path=/p11.so&pin-source=|/bin/pin', 'its pin-source is not the whole path of a file'],
    ['pkcs11:token=ca;token=cb;object=root?module-path=/p11.so', 'it has the attribute token twice'],
    ['pkcs11:token=ca;object=root;type=cert?module-path=/p11.so', 'its type is not private'],
    ['pkcs11:token=ca;colour=red;object=root?module-path=/p11.so', 'it has the attribute "colour"; use token, serial, manufacturer, model, object, id, type'],
    ['pkcs11:token=c%zza;object=root?module-path=/p11.so', 'it has a percent sign without two hexadecimal digits'],
    ['pkcs11:token=ca;object=root?module-path=/p11.so?x=y', 'it has a second question mark'],
    ['http://token', 'it is not a PKCS#11 URI on one line'],
  ])('is refused: %s', (text, why) => {
    expect(refusal(text)).toBe(`ERR_KEY_URI the key URI cannot be used: ${why}`);
  });

  it('never ends in anything but a coded error, and never shows a PIN', () => {
    fc.assert(fc.property(fc.string({ maxLength: 60 }), (tail) => void refusal(`pkcs11:${tail}`)), { numRuns: 100 });
    fc.assert(fc.property(fc.stringMatching(/^[A-Za-z0-9]{8,12}$/), (pin) => !refusal(`pkcs11:token=ca;object=root?module-path=/p11.so&pin-value=${pin}`).includes(pin)), { numRuns: 20 });
  });

  it('is told from a key by how it begins', () => {
    expect([isKeyUri('pkcs11:token=ca'), isKeyUri('-----BEGIN PRIVATE KEY-----')]).toEqual([true, false]);
  });
});
