/** The block ciphers under which keys were ever encrypted with a passphrase. */
import { createDecipheriv } from 'node:crypto';
import { CaError } from '../errors.ts';

/** `rc2` is the one that OpenSSL 3 refuses; single DES is what 3DES does with one key three times. */
export type PasswordCipher = 'aes-128-cbc' | 'aes-192-cbc' | 'aes-256-cbc' | 'aes-128-gcm' | 'aes-192-gcm' | 'aes-256-gcm' | 'des-ede3-cbc' | 'des-ede-cbc' | 'des-cbc' | 'rc2-40-cbc' | 'rc2-64-cbc' | 'rc2-128-cbc';

/** Octets of the key and of the initialization vector. */
export const cipherSizes: Readonly<Record<PasswordCipher, { readonly key: number; readonly iv: number }>> = {
  'aes-128-cbc': { key: 16, iv: 16 },
  'aes-192-cbc': { key: 24, iv: 16 },
  'aes-256-cbc': { key: 32, iv: 16 },
  'aes-128-gcm': { key: 16, iv: 12 },
  'aes-192-gcm': { key: 24, iv: 12 },
  'aes-256-gcm': { key: 32, iv: 12 },
  'des-ede3-cbc': { key: 24, iv: 8 },
  'des-ede-cbc': { key: 16, iv: 8 },
  'des-cbc': { key: 8, iv: 8 },
  'rc2-40-cbc': { key: 5, iv: 8 },
  'rc2-64-cbc': { key: 8, iv: 8 },
  'rc2-128-cbc': { key: 16, iv: 8 },
};

export interface Ciphertext {
  readonly cipher: PasswordCipher;
  readonly key: Uint8Array;
  readonly iv: Uint8Array;
  readonly encrypted: Uint8Array;
}

/** Refuses with `ERR_KEY_PASSPHRASE`: wrong padding or tag is how a wrong passphrase shows. */
export async function decryptCiphertext(input: Ciphertext): Promise<Uint8Array> {
  try {
    return input.cipher.startsWith('rc2-') ? await decryptRc2(input) : decryptNatively(input);
  } catch (cause) {
    throw new CaError('ERR_KEY_PASSPHRASE', 'it does not open with this passphrase; check the passphrase', { cause });
  }
}

function decryptNatively({ cipher, key, iv, encrypted }: Ciphertext): Uint8Array {
  if (cipher === 'aes-128-gcm' || cipher === 'aes-192-gcm' || cipher === 'aes-256-gcm') {
    // RFC 5084 §3.2: the tag follows the encrypted octets.
    const decipher = createDecipheriv(cipher, key, iv, { authTagLength: 16 });
    decipher.setAuthTag(encrypted.subarray(-16));
    return Buffer.concat([decipher.update(encrypted.subarray(0, -16)), decipher.final()]);
  }
  const first = key.subarray(0, 8);
  const expanded = cipher === 'des-cbc' ? Buffer.concat([first, first, first]) : cipher === 'des-ede-cbc' ? Buffer.concat([key, first]) : key;
  const decipher = createDecipheriv(cipher.startsWith('des-') ? 'des-ede3-cbc' : cipher, expanded, iv);
  return Buffer.concat([decipher.update(encrypted), decipher.final()]);
}

/** Loaded only for what nothing else can read; decides about nothing. */
async function decryptRc2({ cipher, key, iv, encrypted }: Ciphertext): Promise<Uint8Array> {
  const { default: forge } = await import('node-forge');
  const octets = (bytes: Uint8Array) => forge.util.createBuffer(Buffer.from(bytes).toString('latin1'));
  const decipher = forge.rc2.createDecryptionCipher(octets(key), cipher === 'rc2-40-cbc' ? 40 : cipher === 'rc2-64-cbc' ? 64 : 128);
  decipher.start(octets(iv));
  decipher.update(octets(encrypted));
  if (!decipher.finish()) throw new Error('wrong padding');
  return Buffer.from(decipher.output.getBytes(), 'latin1');
}
