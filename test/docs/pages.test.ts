import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import { errorTable } from '../../src/errors.ts';
import { pages, root } from './pages.ts';

it.each([...pages])('%s names files that exist', (_page, text) => {
  const named = [...text.matchAll(/`((?:src|ca|test|scripts|examples|docs|bin|\.ci)\/[\w./-]+)`/g)].map(({ 1: path = '' }) => path);
  expect(named.filter((path) => !existsSync(join(root, path)))).toEqual([]);
});

it.each([...pages])('%s links to what exists', (page, text) => {
  const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)(#[^)]*)?\)/g)].map(({ 1: path = '' }) => join(dirname(page), path));
  expect(links.filter((path) => !existsSync(join(root, path)))).toEqual([]);
});

it.each([...pages])('%s names error codes that exist', (_page, text) => {
  expect([...text.matchAll(/`(ERR_[A-Z_]+)`/g)].map(({ 1: code = '' }) => code).filter((code) => !(code in errorTable))).toEqual([]);
});

it.each([...pages])('%s names npm scripts that exist', (_page, text) => {
  const scripts: Readonly<Record<string, string>> = manifest.scripts;
  expect([...text.matchAll(/npm run ([a-z]+)/g)].map(({ 1: name = '' }) => name).filter((name) => !(name in scripts))).toEqual([]);
});

it('lists the dependencies of package.json and no others', () => {
  const text = pages.get('docs/dependencies.md') ?? '';
  const listed = [...text.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name]) => name);
  expect(listed.toSorted()).toEqual(Object.keys(manifest.dependencies).toSorted());
});

it('says what each development dependency is for', () => {
  const [, text = ''] = (pages.get('docs/dependencies.md') ?? '').split('Development only:');
  const named = Object.keys(manifest.devDependencies).filter((name) => !name.startsWith('@types/'));
  expect(named.filter((name) => !text.includes(`\`${name}\``) && !text.includes(`\`${name.split('/').at(-1)}\``))).toEqual([]);
});

it('has generated references that are current', async () => {
  const { stderr } = await promisify(execFile)(process.execPath, ['scripts/docs.ts', '--check'], { cwd: root });
  expect(stderr).toBe('');
});
