/** PEM in the strict form of RFC 7468 §3: what other tools write, nothing cleverer. */
import { CaError } from '../errors.ts';

export interface PemBlock {
  readonly label: string;
  readonly der: Uint8Array;
}

/** Longest text read: a CRL with two million entries fits. */
export const MAX_PEM_LENGTH = 256 * 1024 * 1024;
const MAX_BLOCKS = 10_000;
const BOUNDARY = /^-----(BEGIN|END) ([A-Z0-9](?:[A-Z0-9 #.]{0,62}[A-Z0-9])?)-----[ \t]*$/;

/**
 * Every block in order; with `label` only those carrying it. Text outside the blocks is ignored
 * (RFC 7468 §2), text inside must be base64 and nothing else. Refuses a text without a block.
 */
export function decodePem(text: string, label?: string): PemBlock[] {
  if (text.length > MAX_PEM_LENGTH) throw malformed('longer than the limit');
  const blocks: PemBlock[] = [];
  let at = text.indexOf('-----');
  while (at !== -1) {
    if (at > 0 && text[at - 1] !== '\n') throw malformed('a boundary does not start its line');
    const begin = boundaryAt(text, at);
    if (begin.kind !== 'BEGIN') throw malformed('an END line has no BEGIN line');
    const close = text.indexOf('-----', begin.next);
    if (close === -1) throw malformed('a block has no END line');
    const end = boundaryAt(text, close);
    if (end.kind !== 'END' || end.label !== begin.label) throw malformed('a BEGIN line and its END line do not belong together');
    if (label === undefined || label === begin.label) {
      if (blocks.length === MAX_BLOCKS) throw malformed('more blocks than the limit');
      blocks.push({ label: begin.label, der: decodeBody(text.slice(begin.next, close)) });
    }
    at = text.indexOf('-----', end.next);
  }
  if (blocks.length === 0) throw malformed(label === undefined ? 'no block found; expected a line like -----BEGIN CERTIFICATE-----' : `no ${label} block found`);
  return blocks;
}

export function encodePem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.length).toString('base64');
  const lines: string[] = [`-----BEGIN ${label}-----`];
  for (let at = 0; at < base64.length; at += 64) lines.push(base64.slice(at, at + 64));
  lines.push(`-----END ${label}-----`, '');
  return lines.join('\n');
}

/**
 * DER from DER, or from PEM holding exactly one block with one of the labels. Octets starting with
 * a SEQUENCE identifier are DER; PEM text never starts so unless explanatory text begins with `0`.
 */
export function derOf(input: Uint8Array | string, ...labels: readonly string[]): Uint8Array {
  if (typeof input !== 'string' && (input[0] === 0x30 || input.length === 0)) return input;
  const text = typeof input === 'string' ? input : Buffer.from(input.buffer, input.byteOffset, input.length).toString('latin1');
  if (!text.includes('-----')) throw malformed(`no block found; expected a line like -----BEGIN ${labels[0] ?? ''}-----`);
  const [block, ...others] = decodePem(text).filter((candidate) => labels.includes(candidate.label));
  if (block === undefined) throw malformed(`no ${labels[0] ?? ''} block found`);
  if (others.length > 0) throw malformed(`more than one ${labels[0] ?? ''} block; give them one at a time`);
  return block.der;
}

function boundaryAt(text: string, at: number): { kind: string; label: string; next: number } {
  const newline = text.indexOf('\n', at);
  const next = newline === -1 ? text.length : newline + 1;
  // A boundary line is at most 80 characters; do not copy a hostile long line.
  const line = text.slice(at, Math.min(newline === -1 ? text.length : newline, at + 100)).replace(/\r$/, '');
  const [, kind, label] = BOUNDARY.exec(line) ?? [];
  if (kind === undefined || label === undefined) throw malformed('a boundary line is not of the form -----BEGIN LABEL-----');
  return { kind, label, next };
}

function decodeBody(body: string): Uint8Array {
  // RFC 1421 headers (encrypted legacy keys) have a colon and fall out here.
  const base64 = body.replaceAll(/[ \t]*\r?\n/g, '');
  if (base64.length === 0 || base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) throw malformed('a block does not hold padded base64');
  const der = Buffer.from(base64, 'base64');
  // RFC 4648 §3.5: the bits that padding leaves over are zero, so that a document has one text.
  if (base64.endsWith('=') && der.subarray(der.length - (der.length % 3)).toString('base64') !== base64.slice(-4)) throw malformed('a block ends in stray bits');
  return new Uint8Array(der.buffer, der.byteOffset, der.length);
}

function malformed(what: string): CaError {
  return new CaError('ERR_PEM_INVALID', `the PEM text is malformed: ${what}`);
}
