/**
 * Member names that another parser could take for a name the gateway reads. Go's encoding/json
 * matches names without regard to case and folds U+017F and U+212A, so `{"Name": …}` beside or
 * instead of `name` would be decided as one call and executed as another (mcp.md row 2).
 */
import { SallyportError } from '../errors.ts';

/** Names that fold together may be confused: compatibility forms, case and invisible characters are gone. */
export const foldName = (name: string): string =>
  plain.test(name) ? name.toLowerCase() : name.normalize('NFKC').replace(/\p{Default_Ignorable_Code_Point}/gu, '').toUpperCase().toLowerCase();

const plain = /^[\u0020-\u007e]*$/;

/**
 * Whether some object inside the value has two names that look alike. In user data that may be
 * meant, but a rule about one of the names would not hold for a parser that takes the other.
 */
export const hasLookAlikes = (value: unknown): boolean => {
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return value.some(hasLookAlikes);
  const names = Object.keys(value);
  return new Set(names.map(foldName)).size < names.length || Object.values(value).some(hasLookAlikes);
};

/** A set of exact names, ready to be compared with names that look alike. */
export class KnownNames {
  readonly #exact: ReadonlySet<string>;
  readonly #folded: ReadonlySet<string>;

  constructor(names: readonly string[]) {
    this.#exact = new Set(names);
    this.#folded = new Set(names.map(foldName));
  }

  /**
   * Refuses an object that has a name like a known one without being it, or two names that look alike.
   * @throws SallyportError `ERR_MCP_INVALID_REQUEST`
   */
  assertUnambiguous(object: Readonly<Record<string, unknown>>, where: string): void {
    let others: Set<string> | undefined;
    for (const name of Object.keys(object)) {
      if (this.#exact.has(name)) continue;
      const folded = foldName(name);
      others ??= new Set();
      if (this.#folded.has(folded) || others.has(folded)) {
        throw new SallyportError('ERR_MCP_INVALID_REQUEST', 'a member name looks like another one: spell the names of the protocol exactly', {
          facts: { where, member: name.slice(0, 64) },
        });
      }
      others.add(folded);
    }
  }
}
