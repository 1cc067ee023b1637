/** Key URIs (RFC 7512): where a private key is that never leaves its token. */
import { CaError } from '../errors.ts';

export interface KeyUri {
  /** As it was written. */
  readonly text: string;
  /** What the token must say of itself; at least one is given. */
  readonly token: { readonly label?: string | undefined; readonly serial?: string | undefined; readonly manufacturer?: string | undefined; readonly model?: string | undefined };
  /** CKA_LABEL of the key. */
  readonly object: string | undefined;
  /** CKA_ID of the key. */
  readonly id: Uint8Array | undefined;
  /** Library of the token. */
  readonly modulePath: string;
  /** File that holds the PIN; undefined when it is given otherwise. */
  readonly pinFile: string | undefined;
}

export interface TokenOptions {
  /** Used when the URI names no file with it. */
  readonly pin?: string | undefined;
}

export const isKeyUri = (text: string): boolean => text.trimStart().startsWith('pkcs11:');

/** Longer than any token needs. */
const MAX_LENGTH = 2_048;
const pathAttributes: ReadonlySet<string> = new Set(['token', 'serial', 'manufacturer', 'model', 'object', 'id', 'type']);
const queryAttributes: ReadonlySet<string> = new Set(['module-path', 'pin-source']);

/** @throws CaError `ERR_KEY_URI` */
export function parseKeyUri(input: string): KeyUri {
  const text = input.trim();
  if (text.length > MAX_LENGTH || !/^pkcs11:[\x21-\x7e]*$/.test(text)) throw refused('it is not a PKCS#11 URI on one line');
  const [path = '', query = '', ...more] = text.slice('pkcs11:'.length).split('?');
  if (more.length > 0) throw refused('it has a second question mark');
  // RFC 7512 §2.3: attributes of the path part by semicolons, of the query by ampersands; none twice.
  const inPath = attributes(path, ';', pathAttributes);
  const inQuery = attributes(query, '&', queryAttributes);
  const string = (from: ReadonlyMap<string, Uint8Array>, name: string): string | undefined => {
    const value = from.get(name);
    return value === undefined ? undefined : Buffer.from(value).toString('utf8');
  };
  const token = { label: string(inPath, 'token'), serial: string(inPath, 'serial'), manufacturer: string(inPath, 'manufacturer'), model: string(inPath, 'model') };
  if (token.label === undefined && token.serial === undefined) throw refused('it names no token; add token=LABEL or serial=NUMBER');
  const object = string(inPath, 'object');
  const id = inPath.get('id');
  if (object === undefined && id === undefined) throw refused('it names no key; add object=LABEL or id=%01');
  if (!['private', undefined].includes(string(inPath, 'type'))) throw refused('its type is not private');
  const modulePath = string(inQuery, 'module-path');
  if (modulePath === undefined || !modulePath.startsWith('/') && !/^[A-Za-z]:\\/.test(modulePath)) throw refused('it names no library; add ?module-path=/usr/lib/softhsm/libsofthsm2.so or the like, the whole path');
  return { text, token, object, id, modulePath, pinFile: pinFileOf(string(inQuery, 'pin-source')) };
}

/** How a key URI shows itself in messages: without the places in its query. */
export const keyUriName = ({ text }: Pick<KeyUri, 'text'>): string => text.split('?')[0] ?? text;

function attributes(text: string, separator: ';' | '&', known: ReadonlySet<string>): ReadonlyMap<string, Uint8Array> {
  const found = new Map<string, Uint8Array>();
  for (const part of text === '' ? [] : text.split(separator)) {
    const at = part.indexOf('=');
    const name = part.slice(0, Math.max(at, 0));
    // The PIN itself in a file or a command line is what keeping the key on a token was to prevent.
    if (name === 'pin-value') throw refused('it holds the PIN itself; put the PIN into a file of mode 600 and name it with pin-source');
    if (!known.has(name)) throw refused(`it has the attribute ${JSON.stringify(name)}; use ${[...known].join(', ')}`);
    if (found.has(name)) throw refused(`it has the attribute ${name} twice`);
    found.set(name, percentDecoded(part.slice(at + 1)));
  }
  return found;
}

function percentDecoded(value: string): Uint8Array {
  if (/%(?![0-9A-Fa-f]{2})/.test(value)) throw refused('it has a percent sign without two hexadecimal digits');
  return Buffer.from(value.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))), 'latin1');
}

/** RFC 7512 §2.4: a path or a file URI; a program, which is allowed there, is not run. */
function pinFileOf(source: string | undefined): string | undefined {
  if (source === undefined) return undefined;
  const path = source.replace(/^file:(?:\/\/)?/, '');
  if (!path.startsWith('/') && !/^[A-Za-z]:\\/.test(path)) throw refused('its pin-source is not the whole path of a file');
  return path;
}

const refused = (why: string): CaError => new CaError('ERR_KEY_URI', `the key URI cannot be used: ${why}`);
