import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

const paths = ['README.md', 'SECURITY.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'examples/README.md', ...readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`)];

/** Every page for people, by its path. */
export const pages: ReadonlyMap<string, string> = new Map(paths.map((path) => [path, readFileSync(join(root, path), 'utf8')]));

export interface Snippet {
  readonly page: string;
  readonly language: string;
  readonly line: number;
  readonly text: string;
}

/** Fenced blocks. */
export const snippets: readonly Snippet[] = [...pages].flatMap(([page, text]) =>
  [...text.matchAll(/^```([a-z]+)\n([\s\S]*?)^```$/gm)].map(({ 1: language = '', 2: body = '', index }) => ({ page, language, line: text.slice(0, index).split('\n').length, text: body })),
);

/** Lines of a page's indented blocks below a heading. */
export function commandsUnder(page: string, heading: string): readonly string[] {
  const [, after = ''] = (pages.get(page) ?? '').split(`\n## ${heading}\n`);
  const [section = ''] = after.split('\n## ');
  return section.split('\n').filter((line) => line.startsWith('    ')).map((line) => (line.split(/ {2,}#/, 1)[0] ?? '').trim());
}
