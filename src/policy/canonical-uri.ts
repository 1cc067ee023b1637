/**
 * Whether a URI is spelled in the one form a prefix rule may be applied to. A server behind the
 * gateway may normalize what it gets (`..`, `%2e`, `//`, host case) in ways we cannot know, so a
 * pattern decides only about spellings on which every reader agrees. Nothing is rewritten here:
 * the URI either is canonical or it is not, and then only an exact rule can grant it.
 */

export type CanonicalVerdict = { readonly canonical: true } | { readonly canonical: false; readonly why: string };

/** Longer URIs are never matched by a pattern. */
export const maxCanonicalUriLength = 4096;

const no = (why: string): CanonicalVerdict => ({ canonical: false, why });
const yes: CanonicalVerdict = { canonical: true };

// RFC 3986 §2: unreserved, sub-delims, ":" "@" "/" "?" "#" and percent-encoding; "[" "]" only in an IP literal.
const uriCharacters = /^[A-Za-z0-9\-._~!$&'()*+,;=:@/?#%[\]]*$/;
const schemePattern = /^([a-z][a-z0-9+.-]*):(.*)$/;
const defaultPorts: Readonly<Record<string, string>> = { http: '80', https: '443', ws: '80', wss: '443', ftp: '21' };
const specialSchemes = new Set(['http', 'https', 'ws', 'wss', 'ftp', 'file']);

export function canonicalUri(uri: string): CanonicalVerdict {
  if (uri.length > maxCanonicalUriLength) return no(`longer than ${maxCanonicalUriLength} characters`);
  if (!uriCharacters.test(uri)) return no('holds a character that a URI must percent-encode');
  const parts = schemePattern.exec(uri);
  if (parts === null) return no('does not begin with a lower-case scheme');
  const [, scheme = '', rest = ''] = parts;
  const encoding = percentEncodingProblem(uri);
  if (encoding !== undefined) return no(encoding);

  const hierarchical = rest.startsWith('//');
  const authority = hierarchical ? rest.slice(2).split(/[/?#]/, 1)[0] ?? '' : '';
  if (hierarchical) {
    const problem = authorityProblem(scheme, authority);
    if (problem !== undefined) return no(problem);
  }
  const behind = hierarchical ? rest.slice(2 + authority.length) : rest;
  if (/[[\]]/.test(behind)) return no('holds a bracket outside an IP address');
  // Readers differ on where the path ends, so the query and the fragment may not climb either.
  for (const segment of behind.split(/[/?#]/)) {
    const name = segment.split(';', 1)[0] ?? '';
    if (name === '..' || (name === '.' && segment !== '')) return no('holds a dot segment');
  }
  const path = behind.split(/[?#]/, 1)[0] ?? '';
  if (path.includes('//')) return no('holds an empty path segment');
  // For the schemes the URL standard knows it has the last word (IPv4 forms, `file://localhost/`, missing root path).
  if (specialSchemes.has(scheme)) {
    if (!hierarchical) return no('lacks // behind its scheme');
    if (URL.parse(uri)?.href !== uri) return no('is written differently by the URL standard');
  }
  return yes;
}

function percentEncodingProblem(uri: string): string | undefined {
  if (!uri.includes('%')) return undefined;
  const octets: number[] = [];
  for (let at = uri.indexOf('%'); at !== -1; at = uri.indexOf('%', at + 1)) {
    // RFC 3986 §6.2.2.1: hexadecimal digits of percent-encoding are upper-case.
    const digits = uri.slice(at + 1, at + 3);
    if (!/^[0-9A-F]{2}$/.test(digits)) return 'holds a percent sign without two upper-case hexadecimal digits';
    const octet = Number.parseInt(digits, 16);
    // RFC 3986 §6.2.2.2: what needs no encoding is not encoded.
    if (/[A-Za-z0-9\-._~]/.test(String.fromCharCode(octet))) return 'percent-encodes a character that needs none';
    if (octet === 0x2f || octet === 0x5c) return 'percent-encodes a path separator';
    if (octet < 0x20 || octet === 0x7f) return 'percent-encodes a control character';
    if (octet === 0x25 && /^[0-9A-Fa-f]{2}$/.test(uri.slice(at + 3, at + 5))) return 'is percent-encoded twice';
    octets.push(octet);
    if (uri[at + 3] !== '%') {
      if (!isUtf8(octets)) return 'percent-encodes something that is not UTF-8';
      octets.length = 0;
    }
  }
  return undefined;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function isUtf8(octets: readonly number[]): boolean {
  try {
    utf8.decode(Uint8Array.from(octets));
    return true;
  } catch {
    return false;
  }
}

function authorityProblem(scheme: string, authority: string): string | undefined {
  if (authority.includes('@')) return 'holds user information';
  if (authority.includes('%')) return 'percent-encodes its host';
  if (authority !== authority.toLowerCase()) return 'holds an upper-case host';
  const parts = /^(\[[0-9a-f:.]+\]|[^:[\]]*)(?::(.*))?$/.exec(authority);
  if (parts === null) return 'holds a malformed host';
  const [, host = '', port] = parts;
  if (host.endsWith('.')) return 'ends its host with a dot';
  if (port === undefined) return undefined;
  if (host === '' || !/^[1-9][0-9]{0,4}$/.test(port)) return 'holds a malformed port';
  return defaultPorts[scheme] === port ? 'spells out the default port' : undefined;
}
