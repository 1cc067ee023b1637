/** Walking over the tokens of a text that is JSON already, without building anything. */

/** The index after the closing quote of the string that starts at `start`. */
export const stringEnd = (text: string, start: number): number => {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === 0x5c) backslashes += 1;
    if (backslashes % 2 === 0) return end + 1;
  }
  return text.length;
};

/** Whether some number literal satisfies the test; strings are not looked into. */
export const someNumber = (text: string, test: (literal: string) => boolean): boolean => {
  for (let index = 0; index < text.length; ) {
    const code = text.charCodeAt(index);
    if (code === 0x22) {
      index = stringEnd(text, index);
    } else if (code === 0x2d || (code >= 0x30 && code <= 0x39)) {
      const start = index;
      do index += 1;
      while (isNumberPart(text.charCodeAt(index)));
      if (test(text.slice(start, index))) return true;
    } else {
      index += 1;
    }
  }
  return false;
};

/** The first member name that an object has twice. */
export const repeatedMember = (text: string): string | undefined => {
  const open: Set<string>[] = [];
  for (let index = 0; index < text.length; ) {
    const character = text[index];
    if (character !== '"') {
      if (character === '{') open.push(new Set());
      else if (character === '}') open.pop();
      index += 1;
      continue;
    }
    const end = stringEnd(text, index);
    if (isFollowedByColon(text, end)) {
      const name = String(JSON.parse(text.slice(index, end)));
      if (open.at(-1)?.has(name) === true) return name;
      open.at(-1)?.add(name);
    }
    index = end;
  }
  return undefined;
};

/** Whether some member name is written with an escape. */
export const hasEscapedName = (text: string): boolean => {
  if (!text.includes('\\')) return false;
  for (let start = text.indexOf('"'); start !== -1; ) {
    const end = stringEnd(text, start);
    if (isFollowedByColon(text, end) && text.slice(start, end).includes('\\')) return true;
    start = text.indexOf('"', end);
  }
  return false;
};

/** The same text with each member name in its shortest spelling, which has an escape for `"`, `\` and control characters alone. */
export const withPlainNames = (text: string): string => {
  let written = '';
  let from = 0;
  for (let start = text.indexOf('"'); start !== -1; ) {
    const end = stringEnd(text, start);
    const name = text.slice(start, end);
    if (name.includes('\\') && isFollowedByColon(text, end)) {
      written += text.slice(from, start) + JSON.stringify(JSON.parse(name));
      from = end;
    }
    start = text.indexOf('"', end);
  }
  return written + text.slice(from);
};

/** Digits, `.`, `e`, `E`, `+` and `-`. */
const isNumberPart = (code: number): boolean => (code >= 0x30 && code <= 0x39) || code === 0x2e || code === 0x65 || code === 0x45 || code === 0x2b || code === 0x2d;

const isFollowedByColon = (text: string, start: number): boolean => {
  let index = start;
  while (' \t\r\n'.includes(text[index] ?? 'x')) index += 1;
  return text[index] === ':';
};
