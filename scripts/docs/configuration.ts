import { configReference } from '../../src/config/schema.ts';
import type { ConfigReferenceRow } from '../../src/config/schema.ts';
import { starterConfig } from '../../src/config/starter.ts';
import { code, fenced, page, table } from './markdown.ts';

const introduction = `\`sallyport.yaml\` lies in the data directory. Every key is optional; unknown keys and keys given twice are errors that name line and column. A running gateway reads it at start, and takes changes of the policy file and of the server certificate over at once.

A duration is a number and a unit: \`250ms\`, \`15m\`, \`24h\`, \`90d\`. An address is \`host:port\`, \`[::1]:8443\` for IPv6; port 0 takes a free one.`;

const headings: Readonly<Record<string, string>> = {
  gateway: 'The listeners and what they accept.',
  ca: 'What the certificate authority issues.',
  audit: 'The audit log; see [audit.md](audit.md).',
  upstreams: 'The MCP servers behind the gateway: each has either `command` or `url`.',
  log: 'The log on standard error, one JSON object a line.',
};

export function configurationPage(): string {
  const rows = configReference();
  const groups = Object.groupBy(rows, ({ key }) => (key.includes('.') || key === 'upstreams' ? (key.split('.', 1)[0] ?? '') : ''));
  return page('Configuration', 'src/config/schema.ts', [
    introduction,
    ...Object.entries(groups).flatMap(([name, group]) => [`## ${name === '' ? 'Top level' : code(name)}`, ...(headings[name] === undefined ? [] : [headings[name]]), rowsTable(group ?? [])]),
    '## The file `sallyport init` writes',
    fenced('yaml', starterConfig({ name: 'Acme', trustDomain: 'acme.internal', hosts: ['localhost'], keyAlgorithm: 'p256' }).trimEnd()),
  ]);
}

const rowsTable = (rows: readonly ConfigReferenceRow[]): string =>
  table(['Key', 'Type', 'Default', 'Meaning'], rows.map((row) => [code(row.key), row.type, row.default === undefined ? '' : code(row.default), row.description]));
