/**
 * Changes to JSON text that keep every value as it was written, numbers of any size included.
 * The text must have been accepted by a parser before.
 */

/**
 * One line for the stdio transport. In JSON a raw line feed or carriage return only occurs between
 * tokens (RFC 8259 §7: control characters in strings are escaped), so a space means the same.
 * U+0085, U+2028 and U+2029 only occur inside strings and are escaped, because some line readers
 * (Node's readline, Python's splitlines) would end a line there and take the rest of the string
 * for a message of its own.
 */
export const toOneLine = (text: string): string =>
  // oxlint-disable-next-line no-control-regex
  /[\n\r\u0085\u2028\u2029]/u.test(text) ? text.replace(/[\n\r]+/gu, ' ').replace(/[\u0085\u2028\u2029]/gu, escapeCharacter) : text;

/** The texts of a batch's elements, as they were written; of anything but an array, the text itself. */
export const splitBatch = (text: string): string[] => {
  const start = firstToken(text);
  if (text[start] !== '[') return [text];
  const elements: string[] = [];
  let depth = 0;
  let from = start + 1;
  for (let at = start; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') {
      at = endOfString(text, at);
    } else if (character === '[' || character === '{') {
      depth += 1;
    } else if (character === ']' || character === '}') {
      depth -= 1;
    }
    if ((character === ',' && depth === 1) || (character === ']' && depth === 0)) {
      const element = text.slice(from, at).trim();
      if (element !== '') elements.push(element);
      from = at + 1;
    }
  }
  return elements;
};

const escapeCharacter = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

const firstToken = (text: string): number => {
  let at = 0;
  while (at < text.length && ' \t\r\n'.includes(text[at] ?? '')) at += 1;
  return at;
};

/** Index of the closing quote of the string that opens at `at`. */
const endOfString = (text: string, at: number): number => {
  let end = at + 1;
  while (end < text.length && text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
  return end;
};
