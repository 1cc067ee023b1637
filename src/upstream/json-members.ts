/**
 * Members of JSON text, read and replaced where they stand, so that everything else stays as it was
 * written. The text must have been accepted by a parser before.
 */
import { stringEnd } from '../mcp/json-tokens.ts';

/** Names from the outermost object inwards. */
export type MemberPath = readonly string[];

export interface Replacement {
  readonly path: MemberPath;
  /** JSON text. */
  readonly value: string;
}

/** The value of a member as it is written; of one that is repeated the last, which is what parsers take. */
export const memberText = (text: string, path: MemberPath): string | undefined => {
  const found = findMembers(text, [path]).at(-1);
  return found === undefined ? undefined : text.slice(found.start, found.end);
};

/** The text with other values for these members. One that is repeated is replaced each time; what is not there stays away. */
export const replaceMembers = (text: string, replacements: readonly Replacement[]): string => {
  let written = '';
  let from = 0;
  for (const { which, start, end } of findMembers(text, replacements.map(({ path }) => path))) {
    written += text.slice(from, start) + (replacements[which]?.value ?? '');
    from = end;
  }
  return from === 0 ? text : written + text.slice(from);
};

interface Found {
  /** Index of its path. */
  readonly which: number;
  readonly start: number;
  readonly end: number;
}

interface Wanted {
  readonly which: number;
  readonly path: MemberPath;
}

/** In the order of the text. */
const findMembers = (text: string, paths: readonly MemberPath[]): readonly Found[] => {
  const found: Found[] = [];
  const start = afterSpace(text, 0);
  if (text[start] === '{') visitObject(text, start, { wanted: paths.map((path, which) => ({ which, path })), found });
  return found;
};

/** Goes no deeper than the longest path. Returns the index after the closing brace. */
const visitObject = (text: string, open: number, { wanted, found }: { readonly wanted: readonly Wanted[]; readonly found: Found[] }): number => {
  let index = afterSpace(text, open + 1);
  while (text[index] === '"') {
    const nameEnd = stringEnd(text, index);
    const name = nameOf(text, index, nameEnd);
    const start = afterSpace(text, afterSpace(text, nameEnd) + 1);
    const named = wanted.filter(({ path }) => path[0] === name);
    const inner = named.filter(({ path }) => path.length > 1).map(({ which, path }) => ({ which, path: path.slice(1) }));
    const end = inner.length > 0 && text[start] === '{' ? visitObject(text, start, { wanted: inner, found }) : valueEnd(text, start);
    for (const { which, path } of named) if (path.length === 1) found.push({ which, start, end });
    index = afterSpace(text, end);
    if (text[index] === ',') index = afterSpace(text, index + 1);
  }
  return index + 1;
};

const nameOf = (text: string, start: number, end: number): unknown => {
  const plain = text.slice(start + 1, end - 1);
  return plain.includes('\\') ? JSON.parse(text.slice(start, end)) : plain;
};

const valueEnd = (text: string, start: number): number => {
  let depth = 0;
  let index = start;
  do {
    const character = text[index];
    if (character === '"') {
      index = stringEnd(text, index);
    } else {
      if (character === '{' || character === '[') depth += 1;
      else if (character === '}' || character === ']') depth -= 1;
      index += 1;
    }
  } while (index < text.length && (depth > 0 || !endsValue(text[start], text[index])));
  return index;
};

/** A string, object or array ends with its last character; a number, true, false and null with the next that is no part of them. */
const endsValue = (first: string | undefined, next: string | undefined): boolean => first === '"' || first === '{' || first === '[' || ' \t\r\n,}]'.includes(next ?? ',');

const afterSpace = (text: string, start: number): number => {
  let index = start;
  while (' \t\r\n'.includes(text[index] ?? 'x')) index += 1;
  return index;
};
