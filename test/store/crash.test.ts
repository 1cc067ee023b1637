import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { verifyStore } from '../../src/audit/verify.ts';
import { openStore } from '../../src/store/open-store.ts';
import { noon } from '../support/records.ts';

const directory = mkdtempSync(join(tmpdir(), 'sallyport-crash-'));
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

it('has everything it acknowledged, and a log that verifies, after kill -9 in the middle of writing, five times over', async () => {
  const path = join(directory, 'store.db');
  const { privateKey } = generateKeyPairSync('ed25519');
  const signer = createCheckpointSigner({ origin: 'acme/audit', privateKey });
  const acknowledged: string[] = [];
  for (let round = 0; round < 5; round += 1) {
    const script = fileURLToPath(new URL('../support/store-writer.ts', import.meta.url));
    const child = spawn(process.execPath, [script, path, privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()], { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      // Somewhere in the middle, elsewhere each time.
      if (said.length > 2_000 + round * 1_777) child.kill('SIGKILL');
    });
    const [, signal] = (await once(child, 'close')) as [number | null, string | null];
    expect(signal).toBe('SIGKILL');
    // The last line may have been cut by the kill.
    acknowledged.push(
      ...said
        .split('\n')
        .slice(0, -1)
        .map((line) => line.replace('done ', '')),
    );

    const store = await openStore(`sqlite:${path}`, { clock: { now: () => noon }, checkpointSigner: signer });
    const issued = new Set((await store.ca.findCertificates({ states: ['issued'], limit: 1_000_000 })).map(({ serial }) => serial));
    expect(acknowledged.filter((serial) => !issued.has(serial))).toEqual([]);
    const verification = await verifyStore(store.audit, { verifierKey: signer.verifierKey });
    expect(verification).toEqual({ ok: true, size: issued.size, signedSize: issued.size, findings: [] });
    await store.close();
  }
  expect(acknowledged.length).toBeGreaterThan(100);
});
