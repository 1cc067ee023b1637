/**
 * Anchored, case-sensitive patterns over exact code points. There is no escape and no character
 * class: `*` is the only special character.
 *
 * `name` syntax (tools, prompts, upstreams, attributes): `*` matches any characters.
 * `uri` syntax: `*` matches within one segment (no `/`), `**` across segments.
 *
 * Matching never backtracks: the time is bounded by pattern length × text length.
 */

export type GlobSyntax = 'name' | 'uri';

export interface Glob {
  readonly pattern: string;
  readonly syntax: GlobSyntax;
  /** Without a wildcard the pattern is the one text it matches. */
  readonly exact: boolean;
  /** What every matching text begins with. */
  readonly prefix: string;
  readonly tokens: GlobTokens;
  matches(text: string): boolean;
}

/** UTF-16 code units, with the two wildcards as negative numbers. */
export type GlobTokens = readonly number[];

/** Any run of characters without `/`. */
export const anySegment = -1;
/** Any run of characters. */
export const anyText = -2;

const slash = 0x2f;

export function compileGlob(pattern: string, syntax: GlobSyntax): Glob {
  const tokens = tokenize(pattern, syntax);
  const firstWildcard = tokens.findIndex((token) => token < 0);
  const exact = firstWildcard === -1;
  return {
    pattern,
    syntax,
    exact,
    prefix: exact ? pattern : pattern.slice(0, firstWildcard),
    tokens,
    matches: exact ? (text) => text === pattern : matcherOf(tokens),
  };
}

/** Every text that `narrow` matches is matched by `wide`. May answer false for contrived pairs where it is so. */
export const globCovers = (wide: GlobTokens, narrow: GlobTokens): boolean => simulate(wide, narrow);

/** Whether some text is matched by both. Exact. */
export function globsOverlap(left: GlobTokens, right: GlobTokens): boolean {
  const width = right.length + 1;
  const seen = new Uint8Array((left.length + 1) * width);
  const pending: number[] = [0];
  const visit = (i: number, j: number): void => {
    const state = i * width + j;
    if (seen[state] === 1) return;
    seen[state] = 1;
    pending.push(state);
  };
  for (let state = pending.pop(); state !== undefined; state = pending.pop()) {
    const i = Math.floor(state / width);
    const j = state % width;
    const a = left[i];
    const b = right[j];
    if (a === undefined && b === undefined) return true;
    // A wildcard may match nothing, or take in what the other side spells out.
    if (a !== undefined && a < 0) {
      visit(i + 1, j);
      if (b !== undefined && b >= 0 && takesIn(a, b)) visit(i, j + 1);
    }
    if (b !== undefined && b < 0) {
      visit(i, j + 1);
      if (a !== undefined && a >= 0 && takesIn(b, a)) visit(i + 1, j);
    }
    if (a !== undefined && a >= 0 && a === b) visit(i + 1, j + 1);
  }
  return false;
}

const takesIn = (wildcard: number, unit: number): boolean => (wildcard === anyText ? true : unit !== slash && unit !== anyText);

function tokenize(pattern: string, syntax: GlobSyntax): GlobTokens {
  const tokens: number[] = [];
  for (let i = 0; i < pattern.length; i++) {
    if (pattern[i] !== '*') {
      tokens.push(pattern.charCodeAt(i));
      continue;
    }
    let run = 1;
    while (pattern[i + 1] === '*') {
      run++;
      i++;
    }
    tokens.push(syntax === 'name' || run > 1 ? anyText : anySegment);
  }
  return tokens;
}

function matcherOf(tokens: GlobTokens): (text: string) => boolean {
  if (tokens.includes(anySegment)) return (text) => simulate(tokens, text);
  // Only "any text" wildcards: the leftmost occurrence of each piece is as good as any later one.
  const pieces = splitAtWildcards(tokens);
  const first = pieces[0] ?? '';
  const last = pieces.at(-1) ?? '';
  const middle = pieces.slice(1, -1);
  return (text) => {
    if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false;
    const end = text.length - last.length;
    let from = first.length;
    for (const piece of middle) {
      const at = text.indexOf(piece, from);
      if (at === -1) return false;
      from = at + piece.length;
    }
    return from <= end;
  };
}

function splitAtWildcards(tokens: GlobTokens): readonly string[] {
  const pieces: string[] = [];
  let piece = '';
  for (const token of tokens) {
    if (token < 0) {
      pieces.push(piece);
      piece = '';
    } else {
      piece += String.fromCharCode(token);
    }
  }
  pieces.push(piece);
  return pieces;
}

/** Runs the pattern as an automaton, all states at once. Wildcards in the text stand for whatever they match. */
function simulate(tokens: GlobTokens, text: string | GlobTokens): boolean {
  let states = new Uint8Array(tokens.length + 1);
  let next = new Uint8Array(tokens.length + 1);
  enter(tokens, states, 0);
  for (let at = 0; at < text.length; at++) {
    const unit = typeof text === 'string' ? text.charCodeAt(at) : (text[at] ?? 0);
    let alive = false;
    for (let state = 0; state < tokens.length; state++) {
      if (states[state] !== 1) continue;
      const token = tokens[state];
      if (token === undefined) continue;
      if (token < 0) {
        if (!takesIn(token, unit)) continue;
        enter(tokens, next, state);
      } else if (token === unit) {
        enter(tokens, next, state + 1);
      } else {
        continue;
      }
      alive = true;
    }
    if (!alive) return false;
    [states, next] = [next, states];
    next.fill(0);
  }
  return states[tokens.length] === 1;
}

/** A state whose token is a wildcard also reaches the one behind it, as the wildcard may match nothing. */
function enter(tokens: GlobTokens, states: Uint8Array, state: number): void {
  for (let at = state; states[at] !== 1; at++) {
    states[at] = 1;
    const token = tokens[at];
    if (token === undefined || token >= 0) return;
  }
}
