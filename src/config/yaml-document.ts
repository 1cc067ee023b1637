/**
 * Reads the YAML that people write for us: one document of plain maps, lists and scalars, with the
 * place of every value kept for error messages. Anchors, aliases, tags, duplicate keys and keys that
 * reach into prototypes are refused: none is needed, each has been somebody's vulnerability.
 */
import { LineCounter, isAlias, isMap, isPair, isScalar, isSeq, parseDocument } from 'yaml';
import type { Document, Node } from 'yaml';

export interface Place {
  readonly line: number;
  readonly column: number;
}

export type ValuePath = readonly PropertyKey[];

export interface YamlDocument {
  /** Plain objects, arrays, strings, numbers, booleans and null. */
  readonly value: unknown;
  /** Where the value at `path` stands; of a missing one, where its nearest parent does. */
  locate(path: ValuePath): Place;
}

/** What is wrong with the text and where. */
export class YamlProblem extends Error {
  readonly place: Place;

  constructor(message: string, place: Place, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.place = place;
  }
}

/** Octets of UTF-8. */
export const maxYamlSize = 1024 * 1024;
const maxDepth = 64;
const forbiddenKeys = new Set(['__proto__', 'constructor', 'prototype']);

export function parseYamlDocument(text: string): YamlDocument {
  const start: Place = { line: 1, column: 1 };
  if (Buffer.byteLength(text) > maxYamlSize) throw new YamlProblem(`longer than ${maxYamlSize / 1024} KiB: split what it holds or remove what is not needed`, start);
  refuseDeepFlow(text);
  const lines = new LineCounter();
  // Unique keys are checked in readKey: the parser's own check takes quadratic time.
  let document: Document;
  try {
    document = parseDocument(text, { version: '1.2', schema: 'core', strict: true, uniqueKeys: false, merge: false, prettyErrors: false, lineCounter: lines, logLevel: 'error' });
  } catch (error) {
    // The parser recurses: hostile nesting ends in a RangeError.
    throw new YamlProblem('nested too deeply or not readable as YAML', start, error);
  }
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem !== undefined) throw new YamlProblem(explainSyntax(problem.code, problem.message), placeAt(lines, problem.pos[0]));

  const places = new Map<string, Place>();
  const value = read(document.contents, [], { lines, places });
  return {
    value,
    locate: (path) => {
      for (let length = path.length; length >= 0; length--) {
        const place = places.get(keyOf(path.slice(0, length)));
        if (place !== undefined) return place;
      }
      return start;
    },
  };
}

interface Reading {
  readonly lines: LineCounter;
  readonly places: Map<string, Place>;
}

function read(node: unknown, path: ValuePath, reading: Reading): unknown {
  if (node === null || node === undefined) return null;
  const place = placeAt(reading.lines, (node as Node).range?.[0] ?? 0);
  if (!reading.places.has(keyOf(path))) reading.places.set(keyOf(path), place);
  if (path.length > maxDepth) throw new YamlProblem(`nested more than ${maxDepth} levels deep`, place);
  if (isAlias(node)) throw new YamlProblem('aliases are not supported: write the value out, and quote a pattern that begins with * ("*")', place);
  if ((node as Node & { anchor?: string }).anchor !== undefined) throw new YamlProblem('anchors are not supported: write the value out, and quote a text that begins with &', place);
  if ((node as Node & { tag?: string }).tag?.startsWith('!') === true) throw new YamlProblem('tags are not supported: remove it', place);
  if (isMap(node)) {
    const object: Record<string, unknown> = {};
    for (const pair of node.items) {
      const [key, keyPlace] = readKey(pair, place, reading);
      if (Object.hasOwn(object, key)) throw new YamlProblem(`the key ${key} stands here twice: keep one`, keyPlace);
      const inner = [...path, key];
      reading.places.set(keyOf(inner), keyPlace);
      object[key] = read(pair.value, inner, reading);
    }
    return object;
  }
  if (isSeq(node)) return node.items.map((item, index) => read(item, [...path, index], reading));
  if (isScalar(node)) return readScalar(node.value, place);
  throw new YamlProblem('not readable as YAML', place);
}

function readKey(pair: unknown, parent: Place, reading: Reading): readonly [string, Place] {
  const key = isPair(pair) ? pair.key : undefined;
  const place = placeAt(reading.lines, isScalar(key) ? (key.range?.[0] ?? 0) : -1, parent);
  if (!isScalar(key) || key.anchor !== undefined || (key.tag !== undefined && key.tag.startsWith('!'))) throw new YamlProblem('a key must be a plain text', place);
  if (typeof key.value !== 'string') throw new YamlProblem(`the key ${String(key.value)} is not a text: quote it`, place);
  if (forbiddenKeys.has(key.value)) throw new YamlProblem(`the key ${key.value} is not allowed`, place);
  return [key.value, place];
}

function readScalar(value: unknown, place: Place): unknown {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number' && Number.isFinite(value)) {
    if (Number.isInteger(value) && !Number.isSafeInteger(value)) throw new YamlProblem('the number is too large to be exact: quote it', place);
    return value;
  }
  throw new YamlProblem('not a text, number, boolean or null: quote it', place);
}

function placeAt(lines: LineCounter, offset: number, otherwise: Place = { line: 1, column: 1 }): Place {
  if (offset < 0) return otherwise;
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

const keyOf = (path: ValuePath): string => JSON.stringify(path.map(String));

/** Flow collections opened without end cost the parser a stack frame each; block nesting costs the author an indent each. */
function refuseDeepFlow(text: string): void {
  let depth = 0;
  let line = 1;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit === 0x0a) line++;
    else if (unit === 0x5b || unit === 0x7b) depth++;
    else if ((unit === 0x5d || unit === 0x7d) && depth > 0) depth--;
    // Brackets in texts and comments count too, hence the distance to maxDepth.
    if (depth > 1_000) throw new YamlProblem('too many opened brackets', { line, column: 1 });
  }
}

function explainSyntax(code: string, message: string): string {
  const first = (message.split('\n', 1)[0] ?? '').replace(/\.$/, '').replace(/^[A-Z](?=[a-z])/, (letter) => letter.toLowerCase());
  if (code === 'MULTIPLE_DOCS') return 'more than one YAML document: keep one and remove the --- line';
  if (code === 'TAB_AS_INDENT') return 'indented with a tab: use spaces';
  if (/call stack/.test(message)) return 'nested too deeply';
  if (/alias/i.test(message)) return `${first}: quote a pattern that begins with * ("*")`;
  return `not valid YAML: ${first}`;
}

/** `roles.analyst.grants[0].tools[1]` */
export function formatPath(path: ValuePath): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (/^[A-Za-z0-9_-]+$/.test(String(step))) text += text === '' ? String(step) : `.${String(step)}`;
    else text += `[${JSON.stringify(String(step))}]`;
  }
  return text;
}
