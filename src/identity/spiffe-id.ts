/** SPIFFE IDs, read as the standard defines them: nothing is normalised, so nothing can be spelled twice. */

export interface SpiffeId {
  readonly trustDomain: string;
  /** With its leading slash; empty for the ID of the trust domain itself. */
  readonly path: string;
}

/** SPIFFE-ID §2.1 and §2.2: no port, query, fragment, percent-encoding or trailing slash. */
const form = /^spiffe:\/\/([a-z0-9._-]{1,255})((?:\/[A-Za-z0-9._-]+)*)$/u;
/** SPIFFE-ID §2.3. */
const longest = 2_048;

/** Undefined when the text is not a SPIFFE ID. */
export const parseSpiffeId = (text: string): SpiffeId | undefined => {
  const parts = text.length > longest ? null : form.exec(text);
  if (parts === null) return undefined;
  const [, trustDomain = '', path = ''] = parts;
  return path.split('/').some((segment) => segment === '.' || segment === '..') ? undefined : { trustDomain, path };
};

/** Whether a reader less strict than ours might take it for a SPIFFE ID. */
export const looksLikeSpiffeId = (text: string): boolean => /^spiffe:/iu.test(text);
