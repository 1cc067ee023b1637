import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { SallyportError } from '../../src/errors.ts';
import { fileCredential, fixedCredential, principalCredential } from '../../src/upstream/http-credential.ts';
import { sendJson, UpstreamLab } from '../support/raw-http.ts';
import { call, initialize, post, principalNamed } from '../support/upstream-requests.ts';

const lab = new UpstreamLab();
afterEach(() => lab.end());

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sallyport-credential-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const secret = 's3cret-T0ken';
const place = { upstream: 'warehouse', header: 'Authorization', scheme: 'Bearer' };
const write = async (name: string, text: string, mode = 0o600): Promise<string> => {
  const file = join(directory, name);
  await writeFile(file, text);
  await chmod(file, mode);
  return file;
};
const refusalOf = async (asking: Promise<unknown>): Promise<SallyportError> => {
  const error: unknown = await asking.then((value) => expect.unreachable(`got ${String(value)}`), (cause: unknown) => cause);
  if (!(error instanceof SallyportError)) throw error;
  expect(error.code).toBe('ERR_UPSTREAM_CREDENTIAL');
  expect(JSON.stringify([error.message, error.facts, error.stack])).not.toContain('s3cret');
  return error;
};
const result = { jsonrpc: '2.0', id: 1, result: {} };

describe('a credential for everyone', () => {
  it('stands behind its scheme, or alone', async () => {
    expect(await fixedCredential({ ...place, secret, source: 'TOKEN' }).of(undefined)).toBe(`Bearer ${secret}`);
    expect(await fixedCredential({ upstream: 'x', header: 'X-Api-Key', secret, source: 'TOKEN' }).of(principalNamed('a'))).toBe(secret);
  });

  it.each(['', ' s3cret', 's3cret ', 's3cret\nx', 's3cret\u00fc', 's3cret\0'])('%j cannot be used', (given) => {
    expect(() => fixedCredential({ ...place, secret: given, source: 'TOKEN' })).toThrow(expect.objectContaining({ code: 'ERR_UPSTREAM_CREDENTIAL', message: 'the credential in TOKEN is empty or not one line of visible ASCII: correct it' }));
  });

  it('from a file is read again when the file changes, and refused once it is gone', async () => {
    const file = await write('all.token', `${secret}\n`);
    const credential = fileCredential({ ...place, file });
    expect([await credential.of(undefined), await credential.of(principalNamed('a'))]).toEqual([`Bearer ${secret}`, `Bearer ${secret}`]);
    await write('all.token', `${secret}-2\r\n`);
    expect(await credential.of(undefined)).toBe(`Bearer ${secret}-2`);
    await rm(file);
    expect((await refusalOf(credential.of(undefined))).message).toBe(`there is no credential in ${file}: put one there`);
  });

  it.each<[string, string, number, RegExp]>([
    ['that others may read', secret, 0o640, /may be read by others \(mode 640\): run chmod 600 on it, and replace the credential if someone else may have read it$/],
    ['that is empty', '\n', 0o600, /is empty or not one line of visible ASCII: correct it$/],
    ['of two lines', `${secret}\n${secret}\n`, 0o600, /is empty or not one line of visible ASCII: correct it$/],
    ['that is no small text', `s3cret${'x'.repeat(20_000)}`, 0o600, /is longer than 16384 octets: keep one line with the credential in it$/],
  ])('from a file %s is refused', async (_what, text, mode, message) => {
    const file = await write('bad.token', text, mode);
    expect((await refusalOf(fileCredential({ ...place, file }).of(undefined))).message).toMatch(message);
    // Mended, it serves at once.
    await write('bad.token', secret);
    expect(await fileCredential({ ...place, file }).of(undefined)).toBe(`Bearer ${secret}`);
  });
});

describe('a credential of each principal', () => {
  const pattern = (): string => join(directory, '{commonName}.token');

  it('is that of its own file; without one nothing is sent, unless said otherwise', async () => {
    await write('agent-7.token', secret);
    const credential = principalCredential({ ...place, pattern: pattern(), onMissing: 'deny' });
    expect(await credential.of(principalNamed('agent-7'))).toBe(`Bearer ${secret}`);
    expect((await refusalOf(credential.of(principalNamed('agent-8')))).message).toBe(`there is no credential in ${join(directory, 'agent-8.token')}: put one there`);
    expect(await principalCredential({ ...place, pattern: pattern(), onMissing: 'omit' }).of(principalNamed('agent-8'))).toBeUndefined();
    // What the gateway asks on its own behalf belongs to none of them.
    expect(await credential.of(undefined)).toBeUndefined();
  });

  it('that is there but unusable is refused even where a missing one is not', async () => {
    await write('open.token', secret, 0o644);
    await refusalOf(principalCredential({ ...place, pattern: pattern(), onMissing: 'omit' }).of(principalNamed('open')));
  });

  it('has no principal without a common name, and a dollar sign is no pattern', async () => {
    const credential = principalCredential({ ...place, pattern: join(directory, '$&', '{commonName}'), onMissing: 'deny' });
    const { message } = await refusalOf(credential.of({ ...principalNamed('x'), commonName: undefined }));
    expect(message).toBe('the commonName of the principal cannot be part of a file name, so it has no credential: issue it a certificate with a plain name');
    expect((await refusalOf(credential.of(principalNamed('a')))).facts['file']).toBe(join(directory, '$&', 'a'));
  });

  it('is never looked for outside of where it belongs, whatever the common name', async () => {
    await write('victim', secret);
    const credential = principalCredential({ ...place, pattern: join(directory, 'credentials', '{commonName}'), onMissing: 'deny' });
    const hostile = fc.oneof(
      fc.constantFrom('../victim', '..', '.', '', '../credentials/../victim', 'a/../../victim', '..\\victim', '../victim\0', `${directory}/victim`, '{commonName}', '.hidden', 'a b', 'é', 'x'.repeat(65)),
      fc.array(fc.constantFrom('..', '/', '\\', 'victim', '.', '\0', '%2e'), { maxLength: 6 }).map((parts) => parts.join('')),
      fc.string({ maxLength: 20 }),
    );
    await fc.assert(fc.asyncProperty(hostile, async (name) => {
      const error = await refusalOf(credential.of({ ...principalNamed('x'), commonName: name }));
      // Either no file was named at all, or one in its directory.
      const { file } = error.facts;
      expect(file === undefined || file === join(directory, 'credentials', name)).toBe(true);
      expect(file === undefined || /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)).toBe(true);
    }), { numRuns: 150 });
  });
});

describe('an upstream that takes a credential', () => {
  it('gets each principal\'s own with every request, also with the one that ends its session', async () => {
    await write('alice.token', `${secret}-alice`);
    const { upstream, received } = await lab.recording(({ method }, response) => (method === 'DELETE' ? response.writeHead(200).end() : sendJson(response, 200, result, { 'mcp-session-id': 's1' })), {
      credential: principalCredential({ ...place, pattern: join(directory, '{commonName}.token'), onMissing: 'deny' }),
    });
    await upstream.exchange(initialize({ principal: principalNamed('alice') }));
    await upstream.exchange(post(call(1, 'query'), { principal: principalNamed('alice'), session: 's1' }));
    await upstream.endSession('s1');
    expect(received.map(({ method, headers }) => `${method} ${String(headers.authorization)}`)).toEqual(['POST', 'POST', 'DELETE'].map((method) => `${method} Bearer ${secret}-alice`));
    await refusalOf(upstream.exchange(post(call(1, 'query'), { principal: principalNamed('bob') })));
    expect(received).toHaveLength(3);
  });

  it('cannot be told another in the same header', () => {
    const credential = fixedCredential({ ...place, secret, source: 'TOKEN' });
    for (const headers of [{ authorization: 'x' }, { AUTHORIZATION: 'x' }]) expect(() => lab.upstream('http://127.0.0.1:1/mcp', { credential, headers })).toThrow(expect.objectContaining({ code: 'ERR_CONFIG_INVALID' }));
    for (const header of ['host', 'mcp-name', 'x-sallyport-roles', 'a b']) expect(() => lab.upstream('http://127.0.0.1:1/mcp', { credential: { ...credential, header } })).toThrow(expect.objectContaining({ code: 'ERR_CONFIG_INVALID' }));
  });

  it('and refuses it, or is away, is reported without it', async () => {
    const credential = fixedCredential({ ...place, secret, source: 'TOKEN' });
    const { upstream, log } = await lab.recording((_, response) => response.writeHead(401, { 'www-authenticate': 'Bearer' }).end(), { credential });
    const away = lab.upstream('http://127.0.0.1:1/mcp', { credential });
    const errors = [await upstream.exchange(post(call(1, 'query'))).catch((error: unknown) => error), await away.upstream.exchange(post(call(1, 'query'))).catch((error: unknown) => error), await upstream.eras().catch((error: unknown) => error)] as SallyportError[];
    expect(errors.map(({ code }) => code)).toEqual(['ERR_UPSTREAM_INVALID', 'ERR_UPSTREAM_UNREACHABLE', 'ERR_UPSTREAM_INVALID']);
    expect(JSON.stringify([...errors.map(({ message, facts, stack, cause }) => [message, facts, stack, String(cause)]), log.entries, away.log.entries])).not.toContain('s3cret');
  });
});
