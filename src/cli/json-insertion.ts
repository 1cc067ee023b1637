/** Edits of JSON with comments that touch no octet but those of the member in question. For texts that a parser has accepted. */
import * as jsonc from 'jsonc-parser';
import type { Node } from 'jsonc-parser';

export interface JsonStyle {
  readonly indent: string;
  readonly eol: string;
}

export function styleOf(text: string): JsonStyle {
  return { indent: /^([ \t]+)\S/mu.exec(text)?.[1] ?? '  ', eol: text.includes('\r\n') ? '\r\n' : '\n' };
}

/** Sets or, with undefined, removes one member of the object at `path`, which must exist. */
export function withMember(text: string, path: readonly string[], key: string, value: unknown): string {
  const object = jsonc.findNodeAtLocation(treeOf(text), [...path]);
  if (object?.type !== 'object') throw new TypeError(`there is no object at ${path.join('.')}`);
  const old = object.children?.find((property) => property.children?.[0]?.value === key)?.children?.[1];
  // Removal alone knows about the comma before or behind, whichever goes with the member.
  if (value === undefined) return old === undefined ? text : jsonc.applyEdits(text, jsonc.modify(text, [...path, key], undefined, {}));
  const style = styleOf(text);
  const outer = indentAt(text, object.offset);
  if (old !== undefined) return text.slice(0, old.offset) + written(value, indentAt(text, old.offset), style) + text.slice(old.offset + old.length);
  return inserted(text, object, `${JSON.stringify(key)}: ${written(value, outer + style.indent, style)}`, { ...style, outer });
}

/** At the end of the object: comments before its bracket stay with the members they follow. */
function inserted(text: string, object: Node, member: string, { indent, eol, outer }: JsonStyle & { readonly outer: string }): string {
  const bracket = object.offset + object.length - 1;
  const last = object.children?.at(-1);
  const behindLast = last === undefined ? object.offset + 1 : last.offset + last.length;
  const hasComma = last === undefined || jsonc.stripComments(text.slice(behindLast, bracket)).trim() === ',';
  const head = `${text.slice(0, behindLast)}${hasComma ? '' : ','}`;
  const between = text.slice(behindLast, bracket);
  // The bracket may stand on a line of its own, which then ends the object as before.
  const ownLine = /\n[ \t]*$/u.exec(between);
  const kept = ownLine === null ? between.trimEnd() : between.slice(0, ownLine.index).replace(/\r$/u, '');
  return `${head}${kept}${eol}${outer}${indent}${member}${hasComma && last !== undefined ? ',' : ''}${eol}${outer}${text.slice(bracket)}`;
}

const written = (value: unknown, outer: string, { indent, eol }: JsonStyle): string => JSON.stringify(value, undefined, indent).split('\n').join(`${eol}${outer}`);

const indentAt = (text: string, offset: number): string => /^[ \t]*/u.exec(text.slice(text.lastIndexOf('\n', offset - 1) + 1, offset))?.[0] ?? '';

const treeOf = (text: string): Node => {
  const tree = jsonc.parseTree(text, [], { allowTrailingComma: true });
  if (tree === undefined) throw new TypeError('not JSON');
  return tree;
};
