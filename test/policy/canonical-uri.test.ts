import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalUri } from '../../src/policy/canonical-uri.ts';

describe('a URI is canonical', () => {
  it.each([
    'file:///reports/2026/q1.csv',
    'file:///reports/',
    'demo://resource/static/document/architecture.md',
    'https://example.com/a?b=c&d=%20#part',
    'https://example.com:8443/',
    'http://127.0.0.1/a',
    'http://[::1]:8080/a',
    'urn:isbn:0451450523',
    'memo:insights',
    'test://a/%C3%A9',
    'file:///a/%25',
    'file:///a/..b/c..',
    'mailto:a',
  ])('%s', (uri) => {
    expect(canonicalUri(uri)).toEqual({ canonical: true });
  });
});

describe('a URI is not canonical when it', () => {
  it.each([
    ['holds a dot segment', 'file:///a/../b'],
    ['holds a dot segment', 'file:///a/..'],
    ['holds a dot segment', 'file:///a/./b'],
    ['holds a dot segment', 'memo:../x'],
    ['holds a dot segment', 'demo://host/a/..;v=1/b'],
    ['holds a dot segment', 'file:///reports/x?/../../etc/passwd'],
    ['holds a dot segment', 'file:///reports/x#/../../etc/passwd'],
    ['percent-encodes a character that needs none', 'file:///a/%2E%2E/b'],
    ['percent-encodes a character that needs none', 'file:///%61'],
    ['holds a percent sign without two upper-case hexadecimal digits', 'file:///a/%2e%2e/b'],
    ['holds a percent sign without two upper-case hexadecimal digits', 'file:///a%2fb'],
    ['holds a percent sign without two upper-case hexadecimal digits', 'file:///100%'],
    ['percent-encodes a path separator', 'file:///a%2Fb'],
    ['percent-encodes a path separator', 'file:///a%5Cb'],
    ['percent-encodes a control character', 'file:///a%00.txt'],
    ['is percent-encoded twice', 'file:///a/%252E%252E/b'],
    ['percent-encodes something that is not UTF-8', 'demo://a/%C0%AE%C0%AE/'],
    ['holds user information', 'https://good.example@evil.example/'],
    ['holds an upper-case host', 'https://EXAMPLE.com/'],
    ['holds an upper-case host', 'demo://Resource/a'],
    ['ends its host with a dot', 'https://example.com./'],
    ['percent-encodes its host', 'https://ex%C3%A9mple.com/'],
    ['spells out the default port', 'https://example.com:443/'],
    ['holds a malformed port', 'https://example.com:0443/'],
    ['holds a malformed port', 'https://example.com:/'],
    ['holds an empty path segment', 'file:///reports//etc/passwd'],
    ['holds an empty path segment', 'file:////etc/passwd'],
    ['does not begin with a lower-case scheme', 'FILE:///a'],
    ['does not begin with a lower-case scheme', '/etc/passwd'],
    ['does not begin with a lower-case scheme', ''],
    ['holds a character that a URI must percent-encode', 'file:///a\\..\\b'],
    ['holds a character that a URI must percent-encode', 'file:///a b'],
    ['holds a character that a URI must percent-encode', 'file:///ä'],
    ['holds a character that a URI must percent-encode', 'file:///a\u0000'],
    ['is written differently by the URL standard', 'http://127.1/'],
    ['is written differently by the URL standard', 'http://0x7f000001/'],
    ['is written differently by the URL standard', 'https://example.com'],
    ['is written differently by the URL standard', 'file://localhost/etc/passwd'],
    ['lacks // behind its scheme', 'file:/etc/passwd'],
    ['holds a bracket outside an IP address', 'demo://a/[x]'],
    ['longer than 4096 characters', `file:///${'a'.repeat(4_096)}`],
  ])('%s: %s', (why, uri) => {
    expect(canonicalUri(uri)).toEqual({ canonical: false, why });
  });
});

it('never throws, and what it calls canonical the URL standard leaves alone', () => {
  const pieces = fc.array(fc.constantFrom('file:', 'http:', 'x:', '//', '/', '..', '.', '%2e', '%2F', '%41', '%', 'a', 'B', '@', ':', '80', '[', ']', '::1', '?', '#', ';', '\\', 'é', '\u0000'), { maxLength: 8 }).map((parts) => parts.join(''));
  fc.assert(
    fc.property(fc.oneof(pieces, fc.webUrl(), fc.string()), (uri) => {
      if (!canonicalUri(uri).canonical) return;
      const url = URL.parse(uri);
      if (url !== null) expect(url.href).toBe(uri);
    }),
    { numRuns: 300 },
  );
});
