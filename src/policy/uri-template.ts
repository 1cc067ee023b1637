/** RFC 6570 templates, as far as policy needs them: which texts may an expansion be? */
import { anySegment, anyText } from './glob.ts';
import type { GlobTokens } from './glob.ts';

/** Undefined when the braces do not pair: such a template is not understood, so not granted by a pattern. */
export function templateTokens(template: string): GlobTokens | undefined {
  const tokens: number[] = [];
  for (let at = 0; at < template.length; at++) {
    const character = template[at];
    if (character === '}') return undefined;
    if (character !== '{') {
      tokens.push(template.charCodeAt(at));
      continue;
    }
    const end = template.indexOf('}', at);
    const expression = end === -1 ? '' : template.slice(at + 1, end);
    if (expression === '' || expression.includes('{')) return undefined;
    // RFC 6570 §3.2.2: simple expansion percent-encodes "/"; every operator may bring one in.
    tokens.push(/^[A-Za-z0-9_%]/.test(expression) ? anySegment : anyText);
    at = end;
  }
  return tokens;
}
