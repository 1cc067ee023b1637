/**
 * Where several lists stand together: the cursor of every upstream that has more. The gateway seals it like any
 * other cursor, so what comes back is what was given out.
 */
import { isObject } from '../../mcp/read-messages.ts';

/** Cursors by upstream. */
export type Positions = ReadonlyMap<string, string>;

export const cursorOf = (positions: Positions): string | undefined => (positions.size === 0 ? undefined : JSON.stringify(Object.fromEntries(positions)));

/** Undefined when the text is no cursor of ours. */
export const positionsIn = (cursor: string): Positions | undefined => {
  try {
    const value: unknown = JSON.parse(cursor);
    if (!isObject(value)) return undefined;
    const positions = new Map<string, string>();
    for (const [member, position] of Object.entries(value)) {
      if (typeof position !== 'string') return undefined;
      positions.set(member, position);
    }
    return positions;
  } catch {
    return undefined;
  }
};
