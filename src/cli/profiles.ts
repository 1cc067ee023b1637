/** `sallyport profiles`: which kinds of certificates there are, and their rules. */
import { formatDuration } from '../../ca/duration.ts';
import { builtinProfiles, profilesOfAuthority } from '../../ca/profile.ts';
import type { Profile } from '../../ca/profile.ts';
import { profileSettings } from '../app/deployment.ts';
import { loadConfig } from '../config/load.ts';
import { argument, common, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { formatTable, printable } from './output.ts';

export const registerProfiles: RegisterCommand = (program, cli) => {
  const profiles = program.command('profiles').description('kinds of certificates and their rules');
  const list = profiles.command('list').description('list the built-in profiles and those of sallyport.yaml');
  common(list, ['sallyport profiles list', 'sallyport profiles list --json']);
  list.action(cli.action(listProfiles));
  const show = profiles.command('show').description('every rule of one profile').argument('<name>', 'profile');
  common(show, ['sallyport profiles show agent', 'sallyport profiles show console-user --json']);
  show.action(cli.action(showProfile));
};

async function listProfiles(call: Call<object>): Promise<void> {
  const profiles = await read(call);
  call.output.result(
    profiles.map(viewOf),
    () => formatTable(['NAME', 'KIND', 'FOR', 'LIFETIME', 'AT MOST', 'APPROVAL', 'ISSUED BY'], profiles.map((profile) => [profile.name, profile.kind, profile.extendedKeyUsage.join(', '), formatDuration(profile.defaultTtlSeconds), formatDuration(profile.maxTtlSeconds), profile.approval, [...profile.mayIssue].join(', ')])),
  );
}

async function showProfile(call: Call<object>): Promise<void> {
  const name = argument(call, 0);
  const profiles = await read(call);
  const profile = profiles.find((each) => each.name === name);
  if (profile === undefined) throw usage(`there is no profile ${name}: there are ${profiles.map((each) => each.name).join(', ')}`);
  const view = viewOf(profile);
  call.output.result(view, () => Object.entries(view).map(([key, value]) => `${key.padEnd(27)} ${printable(textOf(value))}`).join('\n'));
}

async function read({ directory }: Call<object>): Promise<readonly Profile[]> {
  return [...profilesOfAuthority(profileSettings(await loadConfig(directory))).values()];
}

const viewOf = (profile: Profile) => ({
  name: profile.name,
  builtIn: Object.hasOwn(builtinProfiles, profile.name),
  kind: profile.kind,
  extendedKeyUsage: profile.extendedKeyUsage,
  defaultTtl: formatDuration(profile.defaultTtlSeconds),
  minTtl: formatDuration(profile.minTtlSeconds),
  maxTtl: formatDuration(profile.maxTtlSeconds),
  backdateSeconds: profile.backdateSeconds,
  keyAlgorithms: [...profile.keyAlgorithms],
  organization: profile.organization ?? null,
  spiffePath: profile.kind === 'server' ? null : profile.naming.spiffePath,
  names: profile.naming.config.names ?? null,
  organizationalUnits: profile.naming.config.organizationalUnits ?? null,
  requiredOrganizationalUnits: profile.naming.config.requiredOrganizationalUnits ?? [],
  dnsSuffixes: profile.naming.config.dnsSuffixes ?? null,
  ipRanges: profile.naming.config.ipRanges ?? null,
  emailDomains: profile.naming.config.emailDomains ?? null,
  status: profile.status,
  mayIssue: [...profile.mayIssue],
  approval: profile.approval,
});

const textOf = (value: unknown): string => (value === null ? 'any' : Array.isArray(value) ? (value.length === 0 ? 'none' : value.join(', ')) : String(value));
