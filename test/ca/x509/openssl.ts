/** Command-line judges. Each answers everything the tool printed, and throws when it refused. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

export function openssl(...args: readonly string[]): string {
  return execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

export function certtool(...args: readonly string[]): string {
  return execFileSync('certtool', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Whether GnuTLS is on this machine; says so once when it is not. */
export const hasCerttool = spawnSync('certtool', ['--version']).status === 0;
if (!hasCerttool) console.warn('skipped: certtool (GnuTLS) is not installed, so the second opinion on certificates and CRLs is missing');

/** A directory for one test file, and a function that puts a file into it and answers its path. */
export function scratch(): (name: string, contents: string | Uint8Array) => string {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-x509-'));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  return (name, contents) => {
    const path = join(directory, name);
    writeFileSync(path, contents);
    return path;
  };
}
