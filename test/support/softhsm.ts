/** A SoftHSM2 token of one's own; undefined where the library or the package is not. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface SoftToken {
  readonly directory: string;
  readonly modulePath: string;
  readonly pin: string;
  readonly pinFile: string;
  /** Of a key on this token. */
  uri(object: string, options?: { readonly pinFile?: string | undefined }): string;
  remove(): void;
}

const modulePath = ['/usr/lib/softhsm/libsofthsm2.so', '/usr/lib64/softhsm/libsofthsm2.so', '/opt/homebrew/lib/softhsm/libsofthsm2.so', '/usr/local/lib/softhsm/libsofthsm2.so'].find((path) => existsSync(path));

const hasAddon = (): boolean => {
  try {
    createRequire(import.meta.url)('graphene-pk11');
    return true;
  } catch {
    return false;
  }
};

export const isSoftHsmInstalled = (): boolean => modulePath !== undefined && hasAddon();

export const createSoftToken = (label = 'sallyport'): SoftToken => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-hsm-'));
  mkdirSync(join(directory, 'tokens'));
  writeFileSync(join(directory, 'softhsm2.conf'), `directories.tokendir = ${join(directory, 'tokens')}\nlog.level = ERROR\n`);
  // The library reads it when it is loaded into this process.
  process.env['SOFTHSM2_CONF'] = join(directory, 'softhsm2.conf');
  const pin = '482913';
  execFileSync('softhsm2-util', ['--init-token', '--free', '--label', label, '--so-pin', '0000', '--pin', pin]);
  const pinFile = join(directory, 'pin');
  writeFileSync(pinFile, `${pin}\n`, { mode: 0o600 });
  return {
    directory,
    modulePath: modulePath ?? '',
    pin,
    pinFile,
    uri: (object, options = { pinFile }) => `pkcs11:token=${label};object=${object}?module-path=${modulePath}${options.pinFile === undefined ? '' : `&pin-source=${options.pinFile}`}`,
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
};
