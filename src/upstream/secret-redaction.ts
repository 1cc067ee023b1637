/**
 * Takes what looks like a secret out of lines that a program wrote for people. Rather too much than too
 * little: what is lost to the log can be had by running the program by hand.
 */
const mark = '[redacted]';

export class SecretRedactor {
  readonly #known: readonly string[];
  #inKey = false;

  /** `known`: values to take out wherever they occur. */
  constructor(known: readonly string[] = []) {
    // What is part of another must not break it up before it is looked for.
    this.#known = known.filter((value) => value.length >= minKnown).toSorted((a, b) => b.length - a.length);
  }

  /** Lines in their order, since a private key takes several. */
  redact(line: string): string {
    let text = line;
    if (this.#inKey) {
      const end = endOfKey.exec(text);
      if (end === null && keyLine.test(text)) return mark;
      this.#inKey = false;
      if (end !== null) text = mark + text.slice(end.index + end[0].length);
    }
    text = text.replace(privateKey, (_key, end: string | undefined) => {
      this.#inKey = end === undefined;
      return mark;
    });
    for (const value of this.#known) text = text.replaceAll(value, mark);
    for (const [pattern, replacement] of patterns) text = text.replace(pattern, replacement);
    return text;
  }
}

/** Values of variables whose names say that they are secret. */
export const secretsIn = (environment: Readonly<Record<string, string | undefined>>): readonly string[] =>
  Object.entries(environment).flatMap(([name, value]) => (value !== undefined && secretName.test(name) ? [value] : []));

/** Shorter ones occur by chance. */
const minKnown = 6;

/** RFC 7468, and the same with its line ends escaped as in JSON. */
const privateKey = /-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?:.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----)|.*$)/gu;
const endOfKey = /-----END [A-Z0-9 ]*PRIVATE KEY-----/u;
const keyLine = /^\s*(?:[A-Za-z0-9+/=]*|(?:Proc-Type|DEK-Info): .*)\s*$/u;

const names = 'api[_-]?key|access[_-]?key(?:[_-]?id)?|private[_-]?key|secret[_-]?key|(?<![a-z0-9])key|secret|token|passw(?:or)?d|passwd|passphrase|pwd|credentials?|cookie|signature';
const secretName = new RegExp(`(?:${names})s?$`, 'iu');

const patterns: readonly (readonly [RegExp, string])[] = [
  // Authorization: <scheme> <credentials>
  [/\b((?:proxy-)?authorization["']?\s*[:=]\s*["']?)(?!\[redacted\])(?:[A-Za-z]+\s+)?[^\s"']+/giu, `$1${mark}`],
  [/\b(bearer|basic)\s+(?=[\w.~+/=-]*\d)[\w.~+/=-]{8,}/giu, `$1 ${mark}`],
  // scheme://user:password@host
  [/\b([a-z][a-z0-9+.-]{0,31}:\/\/)[^\s/?#@:]*:[^\s/?#@]+@/giu, `$1${mark}@`],
  // "name": "value with spaces", then name=value and name: value
  [new RegExp(`(?<![\\w.-])([\\w.-]*?(?:${names})["']?\\s*[:=]\\s*)(["'])(?!\\[redacted\\])(?:\\\\.|(?!\\2)[^\\\\])+`, 'giu'), `$1$2${mark}`],
  // The same inside a text of JSON, where quotes are escaped.
  [new RegExp(`(?<![\\w.-])([\\w.-]*?(?:${names})\\\\["']\\s*[:=]\\s*\\\\)(["'])(?!\\[redacted\\])(?:(?!\\\\\\2).)+`, 'giu'), `$1$2${mark}`],
  [new RegExp(`(?<![\\w.-])([\\w.-]*?(?:${names})["']?\\s*[:=]\\s*)(?!\\[redacted\\])[^\\s"'&]+`, 'giu'), `$1${mark}`],
  // Tokens that say by their start what they are.
  [/(?<![A-Za-z0-9])(?:sk|pk|rk)[-_](?=[\w-]*\d)[\w-]{16,}/gu, mark],
  [/(?<![A-Za-z0-9])(?:gh[pousr]_|github_pat_|glpat-|npm_|hf_|shp[a-z]{2}_|dop_v1_)[\w-]{16,}/gu, mark],
  [/(?<![A-Za-z0-9])(?:xox[abeprs]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|ya29\.[\w-]{16,}|eyJ[\w-]{8,}(?:\.[\w-]*)*)/gu, mark],
];
