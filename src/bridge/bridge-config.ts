/** bridge.yaml: several gateways for one bridge, each with an identity of its own. Strict: unknown keys are errors. */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { formatProblem, problemsOf } from '../config/problems.ts';
import type { Problem } from '../config/problems.ts';
import { formatPath, parseYamlDocument, YamlProblem } from '../config/yaml-document.ts';
import type { ValuePath, YamlDocument } from '../config/yaml-document.ts';
import { SallyportError } from '../errors.ts';

/** With every path absolute. */
export interface BridgeConfig {
  readonly file: string;
  readonly gateways: ReadonlyMap<string, BridgeGatewayConfig>;
  readonly http: { readonly port?: number | undefined };
}

export interface BridgeGatewayConfig {
  /** Default: the one the identity names. */
  readonly url: string | undefined;
  readonly identity: string;
  readonly passphraseFile: string | undefined;
  readonly enroll: EnrollConfig | undefined;
  readonly renew: 'auto' | 'off';
}

export interface EnrollConfig {
  readonly url: string;
  readonly tokenFile?: string | undefined;
  readonly tokenEnv?: string | undefined;
}

const text = (what: string) => z.string(`must be ${what}`).min(1, `must be ${what}`);
const httpsUrl = (what: string) =>
  z.string(`must be ${what}`).refine((value) => {
    const url = URL.parse(value);
    return url?.protocol === 'https:' && url.username === '' && url.password === '' && url.hash === '';
  }, `must be ${what}, without user name and fragment`);

const enroll = z.strictObject({
  url: httpsUrl('an https URL, the enrollment listener of the gateway'),
  tokenFile: text('a file, relative to this one').optional(),
  tokenEnv: z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be the name of an environment variable').optional(),
});

const gateway = z.strictObject({
  url: httpsUrl('an https URL, the MCP endpoint of the gateway').optional(),
  identity: text('an identity directory, relative to this file'),
  passphraseFile: text('a file, relative to this one').optional(),
  enroll: enroll.optional(),
  renew: z.enum(['auto', 'off'], { error: 'must be auto or off' }).default('auto'),
});

const gatewayName = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'a gateway name is 1 to 63 lower-case letters, digits and dashes');

const schema = z.strictObject({
  gateways: z.record(gatewayName, gateway, { error: 'must be a map of names to gateways' }).refine((map) => Object.keys(map).length > 0, 'must name at least one gateway'),
  http: z.strictObject({ port: z.int('must be a port').min(1, 'must be a port').max(65_535, 'must be a port').optional() }).prefault({}),
});

type BridgeFile = z.output<typeof schema>;

const keysAt = ([first, , third]: ValuePath): readonly string[] => {
  if (first === undefined) return Object.keys(schema.shape);
  if (first === 'http') return ['port'];
  return Object.keys(third === 'enroll' ? enroll.shape : gateway.shape);
};

/** Rejects with `ERR_CONFIG_MISSING` or `ERR_CONFIG_INVALID`, one line of message for each problem. */
export async function loadBridgeConfig(file: string): Promise<BridgeConfig> {
  const path = resolve(file);
  let content: string;
  try {
    content = await readFile(path, 'utf8');
  } catch (cause) {
    throw new SallyportError('ERR_CONFIG_MISSING', `${path} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}): name the file that lists the gateways with --config`, { facts: { file: path }, cause });
  }
  return parseBridgeConfig(content, path);
}

export function parseBridgeConfig(content: string, file: string): BridgeConfig {
  let document: YamlDocument;
  try {
    document = parseYamlDocument(content);
  } catch (error) {
    if (error instanceof YamlProblem) throw invalid(file, [{ place: error.place, path: '', message: error.message }], error);
    throw error;
  }
  const parsed = schema.safeParse(document.value ?? {});
  if (!parsed.success) throw invalid(file, problemsOf(parsed.error, document, keysAt), parsed.error);
  const contradictions = contradictionsIn(parsed.data, document, dirname(file));
  if (contradictions.length > 0) throw invalid(file, contradictions);
  return completed(parsed.data, file);
}

function contradictionsIn({ gateways }: BridgeFile, document: YamlDocument, directory: string): readonly Problem[] {
  const problems: Problem[] = [];
  const problem = (path: ValuePath, message: string): void => {
    problems.push({ place: document.locate(path), path: formatPath(path), message });
  };
  const owners = new Map<string, readonly [name: string, settings: string]>();
  for (const [name, one] of Object.entries(gateways)) {
    if (one.enroll !== undefined && (one.enroll.tokenFile === undefined) === (one.enroll.tokenEnv === undefined)) problem(['gateways', name, 'enroll'], 'needs either tokenFile or tokenEnv, and not both');
    const place = resolve(directory, one.identity);
    const settings = JSON.stringify([one.enroll, one.passphraseFile, one.renew]);
    const owner = owners.get(place);
    if (owner === undefined) owners.set(place, [name, settings]);
    else if (owner[1] !== settings) problem(['gateways', name, 'identity'], `is the identity of ${owner[0]} too, with another enroll, passphraseFile or renew: say the same in both`);
  }
  return problems;
}

function completed({ gateways, http }: BridgeFile, file: string): BridgeConfig {
  const from = (path: string): string => resolve(dirname(file), path);
  const entries = Object.entries(gateways).map(([name, one]): [string, BridgeGatewayConfig] => [
    name,
    {
      url: one.url,
      identity: from(one.identity),
      passphraseFile: one.passphraseFile === undefined ? undefined : from(one.passphraseFile),
      enroll: one.enroll === undefined ? undefined : { ...one.enroll, tokenFile: one.enroll.tokenFile === undefined ? undefined : from(one.enroll.tokenFile) },
      renew: one.renew,
    },
  ]);
  return { file, gateways: new Map(entries), http };
}

function invalid(file: string, problems: readonly Problem[], cause?: unknown): SallyportError {
  const lines = problems.map((problem) => formatProblem(file, problem));
  const [first] = problems;
  return new SallyportError('ERR_CONFIG_INVALID', lines.join('\n'), { facts: { file, line: first?.place.line, column: first?.place.column, path: first?.path, problems: lines }, cause });
}
