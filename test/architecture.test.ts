import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

const filesUnder = (folder: string): string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `${folder}/${name.split(sep).join('/')}`);

/** Static imports, re-exports and dynamic imports with a literal. */
const importsOf = (file: string): string[] => {
  const source = readFileSync(join(root, file), 'utf8');
  return [...source.matchAll(/(?:\bfrom\s+|\bimport\s*\(\s*|\bimport\s+)(['"])([^'"]+)\1/g)].flatMap(([, , specifier]) => (specifier === undefined ? [] : [specifier]));
};

/** Rank of a file: imports go to the same rank's own folder, to interfaces, or to a lower rank. */
const layers: readonly (readonly RegExp[])[] = [
  [/^ca\/(ports|errors)\.ts$/, /^ca\/x509\//],
  [/^src\/(errors|system)\.ts$/, /^src\/(config|policy|identity|admin)\//, /^ca\//],
  [/^src\/(revocation|store|audit)\//],
  [/^src\/(upstream|translation|mcp|tls|tools|custody)\//],
  [/^src\/(gateway|bridge|api)\//],
  [/^src\/(app|index|protect)\.ts$/, /^src\/(app|cli|demo|doctor)\//],
];

const rankOf = (file: string): number => layers.findIndex((patterns) => patterns.some((pattern) => pattern.test(file)));

const all = [...filesUnder('ca'), ...filesUnder('src')];
const edges = all.flatMap((file) =>
  importsOf(file)
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => ({ file, target: relative(root, resolve(join(root, dirname(file)), specifier)).split(sep).join('/') })),
);

describe('the direction of imports', () => {
  it('knows the layer of every file', () => {
    expect(all.filter((file) => rankOf(file) === -1)).toEqual([]);
  });

  it('never leads from ca/ to src/', () => {
    expect(edges.filter(({ file, target }) => file.startsWith('ca/') && target.startsWith('src/'))).toEqual([]);
  });

  it('never leads upwards', () => {
    expect(edges.filter(({ file, target }) => rankOf(target) > rankOf(file))).toEqual([]);
  });

  it('leads to the authority only from the top', () => {
    const top = layers.length - 1;
    expect(edges.filter(({ file, target }) => file.startsWith('src/') && target === 'ca/index.ts' && rankOf(file) < top)).toEqual([]);
  });

  it('keeps pure code away from files, sockets, processes and the clock', () => {
    const pure = /^(ca\/x509|src\/policy|src\/identity|src\/mcp)\//;
    const world = new Set(['node:fs', 'node:fs/promises', 'node:tls', 'node:http', 'node:https', 'node:child_process', 'node:worker_threads']);
    expect(all.filter((file) => pure.test(file) && importsOf(file).some((specifier) => world.has(specifier)))).toEqual([]);
  });

  it('keeps development dependencies out of what is published', () => {
    // Optional peers are loaded lazily, by whoever has installed them.
    const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: Record<string, string>; peerDependencies: Record<string, string> };
    const packageOf = (specifier: string): string => specifier.split('/').slice(0, specifier.startsWith('@') ? 2 : 1).join('/');
    const foreign = all.flatMap((file) => importsOf(file).filter((specifier) => !specifier.startsWith('.') && !specifier.startsWith('node:')).map((specifier) => ({ file, name: packageOf(specifier) })));
    // The demo runs a real MCP server, which a stranger has only in a clone.
    expect(foreign.filter(({ name }) => !(name in dependencies) && !(name in peerDependencies))).toEqual([]);
  });
});
