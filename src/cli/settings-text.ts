/**
 * Puts one server into the text of an MCP client's configuration and leaves every other octet alone: comments,
 * order and spacing are their owner's. What came of it is read again and compared; pure.
 */
import { isDeepStrictEqual } from 'node:util';
import * as jsonc from 'jsonc-parser';
import type { Node, ParseError } from 'jsonc-parser';
import { parse as parseToml, TomlError } from 'smol-toml';
import { SallyportError } from '../errors.ts';
import { withMember } from './json-insertion.ts';
import type { SettingValue } from './mcp-clients.ts';
import { tomlStatements } from './toml-statements.ts';

export interface ServerSetting {
  /** The key that holds the servers, and the name of ours. */
  readonly section: string;
  readonly name: string;
  readonly entry: Readonly<Record<string, SettingValue>>;
  /** Keys of the entry that are ours: those that `entry` lacks are removed. */
  readonly owned: readonly string[];
}

type Settings = Readonly<Record<string, unknown>>;

/** The text with the setting in it. Throws `ERR_CONFIG_INVALID` when it cannot be read, or not changed without touching more. */
export function withServer(text: string, form: 'json' | 'toml', setting: ServerSetting): string {
  const mark = text.startsWith('\uFEFF') ? '\uFEFF' : '';
  const content = text.slice(mark.length);
  const read = form === 'json' ? readJson : readToml;
  const before = read(content);
  const expected = expectedOf(before, setting);
  if (isDeepStrictEqual(before, expected)) return text;
  const after = form === 'json' ? changedJson(content, setting) : changedToml(content, before, setting);
  let result: unknown;
  try {
    result = read(after);
  } catch (cause) {
    throw unchangeable('it is laid out in a way that leaves no place for another server', cause);
  }
  if (!isDeepStrictEqual(result, expected)) throw unchangeable('it is laid out in a way that leaves no place for another server');
  return mark + after;
}

/** The setting alone, as a whole file. */
export const asWholeFile = (form: 'json' | 'toml', { section, name, entry }: Omit<ServerSetting, 'owned'>): string =>
  form === 'json' ? `${JSON.stringify({ [section]: { [name]: entry } }, undefined, 2)}\n` : `[${section}.${name}]\n${tomlLines(entry, '\n')}`;

function expectedOf(before: Settings, { section, name, entry, owned }: ServerSetting): Settings {
  const servers = before[section] ?? {};
  if (!isObject(servers)) throw unreadable(`${section} is not a map of servers`);
  const old = servers[name] ?? {};
  if (!isObject(old)) throw unreadable(`${section}.${name} is not a map`);
  const kept = Object.entries(old).filter(([key]) => !owned.includes(key));
  return { ...before, [section]: { ...servers, [name]: Object.fromEntries([...kept, ...Object.entries(entry)]) } };
}

function readJson(text: string): Settings {
  if (text.trim() === '') return {};
  const errors: ParseError[] = [];
  const tree = jsonc.parseTree(text, errors, { allowTrailingComma: true });
  const [error] = errors;
  if (tree === undefined || error !== undefined) throw unreadable(`it is not JSON at line ${lineOf(text, error?.offset ?? 0)}`);
  refuseDoubles(tree, text);
  const value = plain(jsonc.getNodeValue(tree));
  if (!isObject(value)) throw unreadable('it is not a JSON object');
  return value;
}

/** Of two equal keys readers believe one or the other: an edit of the wrong one would be silently ignored. */
function refuseDoubles(node: Node, text: string): void {
  const seen = new Set<unknown>();
  for (const child of node.children ?? []) {
    if (node.type === 'object') {
      const key: unknown = child.children?.[0]?.value;
      if (seen.has(key)) throw unreadable(`the key ${JSON.stringify(key)} stands twice in one object, at line ${lineOf(text, child.offset)}`);
      seen.add(key);
    }
    refuseDoubles(child, text);
  }
}

function changedJson(text: string, { section, name, entry, owned }: ServerSetting): string {
  const empty = text.trim() === '';
  const before = empty ? {} : readJson(text);
  const servers = before[section];
  let changed = empty ? '{}' : text;
  if (!isObject(servers)) changed = withMember(changed, [], section, { [name]: entry });
  else if (!isObject(servers[name])) changed = withMember(changed, [section], name, entry);
  else for (const key of owned) changed = withMember(changed, [section, name], key, entry[key]);
  return empty ? `${changed}\n` : changed;
}

function readToml(text: string): Settings {
  try {
    return plain(parseToml(text, { integersAsBigInt: true })) as Settings;
  } catch (cause) {
    throw unreadable(cause instanceof TomlError ? `it is not TOML at line ${cause.line}` : 'it is not TOML', cause);
  }
}

function changedToml(text: string, before: Settings, { section, name, entry, owned }: ServerSetting): string {
  const eol = text.includes('\r\n') ? '\r\n' : '\n';
  const lines = tomlLines(entry, eol);
  const servers = before[section];
  if (!(isObject(servers) && Object.hasOwn(servers, name))) {
    const gap = text === '' ? '' : text.endsWith('\n') ? eol : `${eol}${eol}`;
    return `${text}${gap}[${section}.${name}]${eol}${lines}`;
  }
  const statements = tomlStatements(text);
  const header = statements.find(({ kind, path }) => kind === 'table' && isDeepStrictEqual(path, [section, name]));
  if (header === undefined) throw unchangeable(`${section}.${name} is not written as a table of its own`);
  // From the last to the first, so that places stay what they are.
  let changed = text;
  const following = statements.slice(statements.indexOf(header) + 1);
  const ours = following.slice(0, following.findIndex(({ kind }) => kind !== 'pair') === -1 ? following.length : following.findIndex(({ kind }) => kind !== 'pair'));
  for (const { path, start, end } of ours.toReversed()) {
    if (path.length === 1 && owned.includes(path[0] ?? '')) changed = changed.slice(0, start) + changed.slice(end);
  }
  const broken = changed.slice(0, header.end).endsWith('\n') ? '' : eol;
  return changed.slice(0, header.end) + broken + lines + changed.slice(header.end);
}

const tomlLines = (entry: ServerSetting['entry'], eol: string): string =>
  Object.entries(entry)
    .map(([key, value]) => `${key} = ${typeof value === 'string' ? tomlString(value) : `[${value.map(tomlString).join(', ')}]`}${eol}`)
    .join('');

/** A basic string: JSON's escapes are TOML's, but for DEL. */
const tomlString = (text: string): string => JSON.stringify(text).replaceAll('\u007f', '\\u007f');

/** Both parsers make objects of their own kind, which a strict comparison tells apart. */
const plain = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(plain);
  return isObject(value) ? Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plain(member)])) : value;
};

const lineOf = (text: string, offset: number): number => text.slice(0, offset).split('\n').length;

const isObject = (value: unknown): value is Settings => typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

const unreadable = (what: string, cause?: unknown): SallyportError => new SallyportError('ERR_CONFIG_INVALID', `${what}: correct the file first, or put in by hand what this command prints without --write`, { cause });
const unchangeable = (what: string, cause?: unknown): SallyportError => new SallyportError('ERR_CONFIG_INVALID', `${what}: put in by hand what this command prints without --write`, { cause });
