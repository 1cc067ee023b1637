import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse as parseToml } from 'smol-toml';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parseBridgeConfig } from '../../src/bridge/bridge-config.ts';
import { loadConfig } from '../../src/config/load.ts';
import { parsePolicy } from '../../src/policy/load.ts';
import { root, snippets } from './pages.ts';
import type { Snippet } from './pages.ts';

const titled = (language: string): readonly (readonly [string, Snippet])[] => snippets.filter((snippet) => snippet.language === language).map((snippet) => [`${snippet.page}:${snippet.line}`, snippet]);

describe('JSON', () => {
  it.each(titled('json'))('%s is JSON, and runs the bridge', (_title, { text }) => {
    const value = JSON.parse(text) as Record<string, Record<string, { command: string; args: readonly string[] }>>;
    const [server] = Object.values(Object.values(value)[0] ?? {});
    expect(server?.command).toBe('npx');
    expect(server?.args).toEqual(expect.arrayContaining(['sallyport', 'connect', '--identity']));
  });
});

describe('TOML', () => {
  it.each(titled('toml'))('%s is TOML, and runs the bridge', (_title, { text }) => {
    const { mcp_servers: servers } = parseToml(text) as unknown as { mcp_servers: Record<string, { command: string; args: readonly string[] }> };
    const [server] = Object.values(servers);
    expect([server?.command, server?.args]).toEqual(['npx', expect.arrayContaining(['sallyport', 'connect', '--identity'])]);
  });
});

describe('YAML', () => {
  const policies = titled('yaml').filter(([, { text }]) => 'roles' in parse(text));
  it.each(policies)('%s is a policy without warnings', (title, { text }) => {
    expect(parsePolicy(text, { file: title }).findings.filter(({ severity }) => severity === 'warning')).toEqual([]);
  });
  it.each(titled('yaml').filter(([, { text }]) => 'gateways' in parse(text)))('%s lists gateways for the bridge', (title, { text }) => {
    expect(parseBridgeConfig(text, title).gateways.size).toBeGreaterThan(1);
  });
  it.each(titled('yaml').filter(([, { text }]) => !('roles' in parse(text) || 'gateways' in parse(text))))('%s is a configuration', async (_title, { text }) => {
    const directory = await mkdtemp(join(tmpdir(), 'sallyport-docs-'));
    try {
      await writeFile(join(directory, 'sallyport.yaml'), text);
      expect((await loadConfig(directory)).findings).toEqual([]);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
});

describe('TypeScript', () => {
  it('compiles, as a reader would compile it', async () => {
    // Inside the package, so that `sallyport` is this one.
    const folder = await mkdtemp(join(root, 'test/docs/.snippets-'));
    try {
      const files = titled('ts').map((_, index) => `snippet-${index}.ts`);
      for (const [index, [, { text }]] of titled('ts').entries()) {
        const given = text.includes('transport.handleRequest') ? `declare const transport: import('@modelcontextprotocol/sdk/server/streamableHttp.js').StreamableHTTPServerTransport;\n` : '';
        await writeFile(join(folder, files[index] ?? ''), `${given}${text}\nexport {};\n`);
      }
      await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: { target: 'es2024', module: 'nodenext', strict: true, noEmit: true, skipLibCheck: true, types: ['node'] }, files }));
      const { stdout } = await promisify(execFile)(process.execPath, ['node_modules/typescript/bin/tsc', '-p', folder], { cwd: root }).catch((error: { stdout: string }) => error);
      expect(stdout).toBe('');
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
