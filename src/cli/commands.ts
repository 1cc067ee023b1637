/** Every command, in the order of --help: one file each, one line each, read when it is needed. */
import type { RegisterCommand } from './cli.ts';

const loaders: ReadonlyMap<string, () => Promise<RegisterCommand>> = new Map([
  ['demo', async () => (await import('./demo.ts')).registerDemo],
  ['init', async () => (await import('./init.ts')).registerInit],
  ['issue', async () => (await import('./issue.ts')).registerIssue],
  ['token', async () => (await import('./token.ts')).registerToken],
  ['acme', async () => (await import('./acme.ts')).registerAcme],
  ['enroll', async () => (await import('./enroll.ts')).registerEnroll],
  ['renew', async () => (await import('./renew.ts')).registerRenew],
  ['requests', async () => (await import('./requests.ts')).registerRequests],
  ['profiles', async () => (await import('./profiles.ts')).registerProfiles],
  ['serve', async () => (await import('./serve.ts')).registerServe],
  ['connect', async () => (await import('./connect.ts')).registerConnect],
  ['client-config', async () => (await import('./client-config.ts')).registerClientConfig],
  ['export', async () => (await import('./export.ts')).registerExport],
  ['revoke', async () => (await import('./revoke.ts')).registerRevoke],
  ['release', async () => (await import('./release.ts')).registerRelease],
  ['inventory', async () => (await import('./inventory.ts')).registerInventory],
  ['crl', async () => (await import('./crl.ts')).registerCrl],
  ['ca', async () => (await import('./ca.ts')).registerCa],
  ['verify', async () => (await import('./verify.ts')).registerVerify],
  ['trust', async () => (await import('./trust.ts')).registerTrust],
  ['policy', async () => (await import('./policy.ts')).registerPolicy],
  ['tools', async () => (await import('./tools.ts')).registerTools],
  ['audit', async () => (await import('./audit.ts')).registerAudit],
  ['backup', async () => (await import('./backup.ts')).registerBackup],
  ['restore', async () => (await import('./restore.ts')).registerRestore],
  ['tidy', async () => (await import('./tidy.ts')).registerTidy],
  ['doctor', async () => (await import('./doctor.ts')).registerDoctor],
]);

/** What a command line needs: the command it begins with, or, for help and for a word that is none, all of them. */
export const commandsFor = async (word: string | undefined): Promise<readonly RegisterCommand[]> => {
  if (word === '--version' || word === '-V') return [];
  const one = word === undefined ? undefined : loaders.get(word);
  return one === undefined ? allCommands() : [await one()];
};

export const allCommands = (): Promise<readonly RegisterCommand[]> => Promise.all([...loaders.values()].map((load) => load()));
