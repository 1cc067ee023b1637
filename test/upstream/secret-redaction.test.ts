import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SecretRedactor, secretsIn } from '../../src/upstream/secret-redaction.ts';

const redact = (line: string): string => new SecretRedactor().redact(line);

const letters = (alphabet: string, minLength: number, maxLength: number): fc.Arbitrary<string> => fc.string({ unit: fc.constantFrom(...alphabet), minLength, maxLength });
const upper = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
const lower = upper.toLowerCase();
const digits = '0123456789';
const run = letters(upper + lower + digits, 20, 60).map((text) => `${text}7`);

describe('a secret in a line', () => {
  it.each([
    ['Authorization: Bearer abc.def-123', 'Authorization: [redacted]'],
    ['{"authorization":"Basic dXNlcjpwYXNz"}', '{"authorization":"[redacted]"}'],
    ['got bearer eyk12345678 from peer', 'got bearer [redacted] from peer'],
    ['GET https://api.example/x?api_key=abc&page=2', 'GET https://api.example/x?api_key=[redacted]&page=2'],
    ['postgres://app:s3cr3t@db.example:5432/x', 'postgres://[redacted]@db.example:5432/x'],
    ['OPENAI_API_KEY=sk-proj-1', 'OPENAI_API_KEY=[redacted]'],
    ['password: hunter2', 'password: [redacted]'],
    ["DB_PASSWORD='two words', next", "DB_PASSWORD='[redacted]', next"],
    ['{"clientSecret": "a b \\" c", "x": 1}', '{"clientSecret": "[redacted]", "x": 1}'],
    ['"{\\"token\\":\\"abc def\\"}"', '"{\\"token\\":\\"[redacted]\\"}"'],
    ['key=abc', 'key=[redacted]'],
    ['id AKIAIOSFODNN7EXAMPLE used', 'id [redacted] used'],
    ['-----BEGIN EC PRIVATE KEY-----\\nMHc\\n-----END EC PRIVATE KEY----- done', '[redacted] done'],
  ])('%s', (line, expected) => {
    expect(redact(line)).toBe(expected);
  });

  it('is taken out of whatever surrounds it, and once is enough', () => {
    const tokens = fc.oneof(
      run.map((text) => `sk-${text}`), run.map((text) => `ghp_${text}`), run.map((text) => `github_pat_${text}`), run.map((text) => `xoxb-${text}`),
      run.map((text) => `glpat-${text}`), run.map((text) => `sk_live_${text}`), letters(upper + digits, 16, 16).map((text) => `AKIA${text}`),
      fc.tuple(run, run, run).map(([header, payload, signature]) => `eyJ${header}.${payload}.${signature}`),
    );
    const named = fc.tuple(fc.constantFrom('token', 'API_KEY', 'apiKey', 'client_secret', 'password', 'x-secret-key', 'access_token'), fc.constantFrom('=', ': ', '="', '": "', ' = '), run).map(([name, separator, value]) => [value, name + separator + value] as const);
    const bare = tokens.map((token) => [token, token] as const);
    const bearer = run.map((value) => [value, `Bearer ${value}`] as const);
    fc.assert(
      fc.property(fc.oneof(named, bare, bearer), fc.constantFrom('', 'sent ', 'x=1 (', '{"a":"'), fc.constantFrom('', ' at noon', '"}', ' & more'), ([secret, text], before, after) => {
        const redacted = redact(before + text + after);
        expect(redacted).not.toContain(secret);
        expect(redacted).not.toContain(secret.slice(0, 12));
        expect(redact(redacted)).toBe(redacted);
        expect(redacted.startsWith(before)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  it('that is a private key takes all its lines, and no more', () => {
    const redactor = new SecretRedactor();
    const lines = ['x -----BEGIN PRIVATE KEY-----', 'MIGHAgEAMBMGByqGSM49', 'AgEGCCqGSM49AwEHBG0w', '-----END PRIVATE KEY----- y', 'ready', '-----BEGIN RSA PRIVATE KEY-----', 'Proc-Type: 4,ENCRYPTED', '', 'MIIE', 'it ended too early', 'MIIE'];
    expect(lines.map((line) => redactor.redact(line))).toEqual(['x [redacted]', '[redacted]', '[redacted]', '[redacted] y', 'ready', '[redacted]', '[redacted]', '[redacted]', '[redacted]', 'it ended too early', 'MIIE']);
  });

  it('that was configured is taken out wherever it stands, the longest first', () => {
    const redactor = new SecretRedactor(['plain words', 'plain words and more', 'short']);
    expect(redactor.redact('has plain words and more, plain words, and short')).toBe('has [redacted], [redacted], and short');
    expect(secretsIn({ API_TOKEN: 'a', DB_PASSWORD: 'b', AWS_SECRET_ACCESS_KEY: 'c', KEY: 'd', PATH: 'e', MONKEY: 'f', API_KEYS: 'g', TOKEN: undefined })).toEqual(['a', 'b', 'c', 'd', 'g']);
  });
});

describe('ordinary text', () => {
  it.each([
    'Server listening on http://127.0.0.1:8080/mcp',
    'Unexpected end of JSON input at position 42',
    'used 1523 tokens, max_tokens=4096, keyboard: us',
    'basic functionality of the bearer certificates',
    'commit 69edf6455a3b2d1c0f9e8d7c6b5a49382716051f, sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    '-----BEGIN CERTIFICATE-----',
    'task-management-of-2026-something-long, risk-2026-assessment-of-everything',
    'at Object.<anonymous> (file:///srv/app/index.js:10:5)',
    'mailto:a@b.example, user@host:/path, 10:20:30',
    '2026-11-21T06:36:38.123Z INFO request 7f3c2b1a-0000-4000-8000-123456789abc took 12ms',
  ])('stays: %s', (line) => {
    expect(redact(line)).toBe(line);
  });

  it('stays, whatever its words, numbers and punctuation', () => {
    const word = fc.oneof(letters(lower, 1, 12), fc.integer().map(String), fc.constantFrom('(x)', 'a.b', 'file:///tmp/x', 'https://a.example/b?c=1', '{"a":1}', 'n=5', '—', 'ü', '10%'));
    fc.assert(
      fc.property(fc.array(word, { maxLength: 30 }), fc.constantFrom(' ', ', ', '; ', '\t'), (words, separator) => {
        const line = words.join(separator);
        fc.pre(!/key|secret|token|passw|pwd|credential|cookie|signature|bearer|basic|authorization/.test(line));
        expect(redact(line)).toBe(line);
      }),
      { numRuns: 200 },
    );
  });

  it('is read in a time that grows with its length only', () => {
    for (const line of ['a'.repeat(20_000), 'token'.repeat(4_000), '-'.repeat(20_000), 'a:'.repeat(10_000), 'sk-'.repeat(7_000), 'https://'.repeat(2_500), `token${' '.repeat(20_000)}`, `token="${'\\'.repeat(20_000)}`]) {
      const start = performance.now();
      redact(line);
      expect(performance.now() - start).toBeLessThan(1_000);
    }
  });
});
