/** `sallyport policy check` and `policy explain`. */
import { resolve } from 'node:path';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { decodePem } from '../../ca/x509/pem.ts';
import { readPolicy } from '../app/policy-file.ts';
import { openTrustView } from '../app/trust-view.ts';
import { loadConfig } from '../config/load.ts';
import { defaultUpstreamName } from '../config/starter.ts';
import type { ExitCode } from '../errors.ts';
import { principalOf } from '../identity/principal-of.ts';
import type { Action } from '../policy/decision.ts';
import { explain, formatExplanation } from '../policy/explain.ts';
import { argument, common, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { readBytes } from './read-text.ts';

interface ExplainOptions {
  readonly cert: string;
  readonly tool?: string;
  readonly resource?: string;
  readonly prompt?: string;
  readonly upstream?: string;
  readonly arguments?: string;
  readonly policy?: string;
}

export const registerPolicy: RegisterCommand = (program, cli) => {
  const policy = program.command('policy').description('check and explain the policy');
  const check = policy.command('check').description('read a policy file and report what is wrong or probably not meant').argument('<file>', 'policy file');
  common(check, ['sallyport policy check ./port/policy.yaml', 'sallyport policy check policy.yaml --json']);
  check.action(cli.action(checkPolicy));

  const explanation = policy
    .command('explain')
    .description('say whether a certificate may do something, and why')
    .requiredOption('--cert <file>', 'certificate of the agent, PEM or DER')
    .option('--tool <name>', 'may it call this tool?')
    .option('--resource <uri>', 'may it read this resource?')
    .option('--prompt <name>', 'may it get this prompt?')
    .option('--upstream <name>', 'on which upstream (default: the only one configured)')
    .option('--arguments <json>', 'arguments of the call (default: {})')
    .option('--policy <file>', 'policy to ask (default: that of the data directory)');
  common(explanation, ['sallyport policy explain --cert ./agent-7/cert.pem --tool echo', `sallyport policy explain --cert ./agent-7/cert.pem --tool query --upstream warehouse --arguments '{"sql":"DROP TABLE x"}'`]);
  explanation.action(cli.action<ExplainOptions>(explainPolicy));
};

async function checkPolicy(call: Call<object>): Promise<ExitCode> {
  const file = argument(call, 0);
  const policy = await readPolicy(resolve(call.io.cwd, file));
  const warnings = policy.findings.filter(({ severity }) => severity === 'warning').length;
  const rules = [...policy.roles.values()].flatMap((role) => [...role.grants, ...role.deny]).reduce((sum, grant) => sum + grant.tools.length + grant.resources.length + grant.prompts.length + (grant.logging ? 1 : 0), 0);
  const facts = { file, revision: policy.revision, roles: policy.roles.size, bindings: policy.bindings.length, rules };
  call.output.result({ ...facts, ok: warnings === 0, findings: policy.findings }, () =>
    [
      `${file} is valid: ${facts.roles} roles, ${facts.bindings} bindings, ${rules} rules`,
      ...policy.findings.map(({ severity, kind, path, line, message }) => `${call.output.paint(severity === 'warning' ? 'yellow' : 'dim', severity.padEnd(7))} ${file}:${line}: ${path === '' ? '' : `${path}: `}${message} (${kind})`),
    ].join('\n'),
  );
  return warnings === 0 ? 0 : 3;
}

async function explainPolicy(call: Call<ExplainOptions>): Promise<ExitCode> {
  const { io, options, output, directory } = call;
  const config = options.policy !== undefined && options.upstream !== undefined ? undefined : await loadConfig(directory);
  const policyFile = options.policy === undefined ? config?.policyFile : resolve(io.cwd, options.policy);
  const policy = await readPolicy(policyFile ?? '');
  const { principal, known } = await principalIn(resolve(io.cwd, options.cert), call);
  const [only, another] = [...(config?.upstreams.keys() ?? [])];
  if (options.upstream === undefined && another !== undefined) throw usage(`there are several upstreams: name one with --upstream (${[...(config?.upstreams.keys() ?? [])].join(', ')})`);
  const explanation = explain(policy, principal, actionOf(options, options.upstream ?? only ?? defaultUpstreamName));
  if (!known) output.warn('this certificate was not issued by the CA of the data directory: the gateway would refuse it whatever the policy says');
  output.result(explanation, () => formatExplanation(explanation));
  return explanation.decision.effect === 'allow' ? 0 : 3;
}

async function principalIn(file: string, call: Call<ExplainOptions>) {
  const [certificate, ...chain] = await certificatesOf(file);
  const view = await openTrustView(call.directory, call.io).catch(() => undefined);
  const issuer = view?.store.issuerOf(certificate);
  const foreigner = issuer === undefined ? view?.store.foreigner(certificate, chain, call.io.clock.now()) : undefined;
  if (foreigner?.ok === true) return { principal: foreigner.principal, known: true };
  return { principal: principalOf(certificate, issuer?.issuerId ?? 'unknown'), known: issuer !== undefined };
}

async function certificatesOf(file: string): Promise<readonly [Certificate, ...Certificate[]]> {
  const bytes = await readBytes(file);
  try {
    // A SEQUENCE begins DER. In cert.pem the issuing CA stands behind the leaf.
    const [leaf = bytes, ...chain] = bytes[0] === 0x30 ? [] : decodePem(bytes.toString('utf8'), 'CERTIFICATE').map(({ der }) => der);
    return [parseCertificate(leaf), ...chain.map((der) => parseCertificate(der))];
  } catch (cause) {
    throw usage(`${file} holds no certificate (${cause instanceof Error ? cause.message : String(cause)}): give the cert.pem of an identity`, { file });
  }
}

function actionOf(options: ExplainOptions, upstream: string): Action {
  const { tool, resource, prompt } = options;
  if ([tool, resource, prompt].filter((each) => each !== undefined).length !== 1) throw usage('ask for one thing: --tool NAME, --resource URI or --prompt NAME');
  if (options.arguments !== undefined && tool === undefined) throw usage('--arguments goes with --tool');
  if (resource !== undefined) return { kind: 'resource', upstream, uri: resource };
  if (prompt !== undefined) return { kind: 'prompt', upstream, name: prompt };
  return { kind: 'tool', upstream, name: tool ?? '', arguments: parseArguments(options.arguments ?? '{}') };
}

function parseArguments(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw usage(`--arguments is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}
