import { spawn } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const launcher = fileURLToPath(new URL('../../bin/sallyport.js', import.meta.url));

describe('sallyport demo', () => {
  let temporary = '';
  let exit: number | null = null;
  let report: { ok: boolean; outcomes: { promise: string; held: boolean }[] } = { ok: false, outcomes: [] };

  beforeAll(async () => {
    temporary = await mkdtemp(join(tmpdir(), 'demo-test-'));
    const child = spawn(process.execPath, [launcher, 'demo', '--json'], { env: { ...process.env, TMPDIR: temporary, TMP: temporary, TEMP: temporary }, stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString('utf8');
    });
    exit = await new Promise((resolve) => child.once('close', resolve));
    report = JSON.parse(output) as typeof report;
  });

  afterAll(() => rm(temporary, { recursive: true, force: true }));

  it('observes everything it promises, and only then ends with 0', () => {
    expect(report.outcomes.filter(({ held }) => !held)).toEqual([]);
    expect(report.outcomes.map(({ promise }) => promise)).toEqual([
      'each agent lists only what it may call',
      'an allowed call is answered',
      'a call without a grant is denied',
      'no certificate is refused',
      'a certificate of another CA is refused',
      'an expired certificate is refused',
      'the open stream is cut',
      'the next request is refused',
      'resumption is refused',
      'a new handshake is refused',
      'the other agent goes on working',
      'audit verify finds the record intact',
    ]);
    expect({ ok: report.ok, exit }).toEqual({ ok: true, exit: 0 });
  });

  it('leaves nothing behind', async () => {
    // Node's own compile cache may appear there; nothing of ours may.
    expect((await readdir(temporary)).filter((name) => name.includes('sallyport'))).toEqual([]);
  });
});
