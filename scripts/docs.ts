// Writes the reference pages that follow from the code; with --check only says which are stale.
import { readFile, writeFile } from 'node:fs/promises';
import { describeApi } from '../src/api/openapi.ts';
import { commandsPage } from './docs/commands.ts';
import { configurationPage } from './docs/configuration.ts';
import { errorsPage } from './docs/errors.ts';

const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };
const openApiPage = (): string => `${JSON.stringify(describeApi(version), undefined, 2)}\n`;

const pages = { 'docs/commands.md': commandsPage, 'docs/configuration.md': configurationPage, 'docs/errors.md': errorsPage, 'docs/openapi.json': openApiPage } as const;
const checking = process.argv.includes('--check');

for (const [path, page] of Object.entries(pages)) {
  const file = new URL(`../${path}`, import.meta.url);
  const wanted = page();
  const present = await readFile(file, 'utf8').catch(() => undefined);
  if (present === wanted) continue;
  if (checking) {
    console.error(`${path} is stale: run npm run docs`);
    process.exitCode = 1;
  } else {
    await writeFile(file, wanted);
    console.log(`wrote ${path}`);
  }
}
