/** Turns what a schema refuses into sentences with a place: `sallyport.yaml:12:5: gateway.listen: …`. */
import type { z } from 'zod';
import { formatPath } from './yaml-document.ts';
import type { Place, ValuePath, YamlDocument } from './yaml-document.ts';

export interface Problem {
  readonly place: Place;
  readonly path: string;
  /** Starts in lower case, names the next step where there is one. */
  readonly message: string;
}

/** At most `limit` problems, in the order of the file. */
export function problemsOf(error: z.ZodError, document: YamlDocument, knownKeys: (path: ValuePath) => readonly string[], limit = 20): readonly Problem[] {
  const problems = error.issues.flatMap((issue) => fromIssue(issue, document, knownKeys));
  return problems.sort((a, b) => a.place.line - b.place.line || a.place.column - b.place.column).slice(0, limit);
}

export const formatProblem = (file: string, { place, path, message }: Problem): string =>
  `${file}:${place.line}:${place.column}: ${path === '' ? '' : `${path}: `}${message}`;

function fromIssue(issue: z.core.$ZodIssue, document: YamlDocument, knownKeys: (path: ValuePath) => readonly string[]): readonly Problem[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const path = [...issue.path, key];
      return { place: document.locate(path), path: formatPath(path), message: `unknown key${suggestion(key, knownKeys(issue.path))}` };
    });
  }
  if (issue.code === 'invalid_union') {
    const meant = branchMeant(issue.errors);
    if (meant !== undefined) return meant.flatMap((inner) => fromIssue({ ...inner, path: [...issue.path, ...inner.path] }, document, knownKeys));
  }
  const message = issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message;
  return [{ place: document.locate(issue.path), path: formatPath(issue.path), message: lowerFirst(message) }];
}

type Branch = readonly z.core.$ZodIssue[];

/** Of a union the branch whose complaints help: the one that got furthest, with the fewest. Undefined when it is not clear. */
function branchMeant(branches: readonly Branch[]): Branch | undefined {
  const failed = branches.filter((branch) => branch.length > 0);
  const depth = Math.max(0, ...failed.map(depthOf));
  // At the value itself: the branch of the right type, whose value was refused.
  if (depth === 0) return failed.find((branch) => branch.every(({ code }) => code !== 'invalid_type' && code !== 'invalid_value'));
  const furthest = failed.filter((branch) => depthOf(branch) === depth).toSorted((a, b) => complaints(a) - complaints(b));
  const [first, second] = furthest;
  return first !== undefined && second !== undefined && complaints(first) === complaints(second) ? undefined : first;
}

const depthOf = (branch: Branch): number => Math.max(...branch.map((issue) => issue.path.length + (issue.code === 'unrecognized_keys' ? 1 : 0)));

const complaints = (branch: Branch): number => branch.reduce((sum, issue) => sum + (issue.code === 'unrecognized_keys' ? issue.keys.length : 1), 0);

const lowerFirst = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1);

function suggestion(key: string, known: readonly string[]): string {
  const near = known.map((name) => ({ name, distance: editDistance(key.toLowerCase(), name.toLowerCase()) })).toSorted((a, b) => a.distance - b.distance)[0];
  if (near !== undefined && near.distance <= Math.max(1, Math.floor(near.name.length / 3))) return `: did you mean ${near.name}?`;
  return known.length > 0 ? `: known here are ${known.join(', ')}` : ': remove it';
}

function editDistance(a: string, b: string): number {
  if (a.length > 64) return a.length;
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(substituted, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
