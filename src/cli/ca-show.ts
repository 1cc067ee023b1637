/** `sallyport ca show`: the hierarchy, and how each CA of it stands. */
import type { Command } from 'commander';
import { exists, keyFile } from '../../ca/hierarchy-files.ts';
import { loadHierarchy } from '../../ca/index.ts';
import type { Issuer } from '../../ca/index.ts';
import { liveCertificates } from '../../ca/rotation.ts';
import { keyAlgorithmOfSpki } from '../../ca/x509/algorithm.ts';
import { formatName } from '../../ca/x509/name.ts';
import { openForReading } from '../app/deployment.ts';
import { common } from './cli.ts';
import type { Call, Cli } from './cli.ts';
import { formatTable } from './output.ts';

export const registerCaShow = (ca: Command, cli: Cli): void => {
  const show = ca.command('show').description('list roots and issuing CAs: what each is for now, its key, when it ends, and how many of its certificates are valid');
  common(show, ['sallyport ca show', 'sallyport ca show --json | jq ".issuers[] | select(.status != \\"retired\\")"']);
  show.action(cli.action(showCa));
};

async function showCa({ io, output, directory }: Call<object>): Promise<void> {
  const { config, store, close } = await openForReading(directory, io.clock);
  try {
    const hierarchy = await loadHierarchy({ directory: config.directory, keys: 'ignore' });
    const issuers = await Promise.all(
      hierarchy.issuers.map(async (issuer) => ({
        ...issuerFacts(issuer),
        key: (await exists(keyFile(config.directory, issuer.name))) ? 'here' : 'elsewhere',
        live: await liveCertificates(issuer, { store: store.ca, clock: io.clock }),
      })),
    );
    const crossCertificates = hierarchy.crossCertificates.map(({ name, of, by, certificate }) => ({ name, of, by, thumbprint: certificate.thumbprint, notAfter: certificate.notAfter }));
    output.result({ sequence: hierarchy.sequence, issuers, crossCertificates }, () => {
      const rows = issuers.map((each) => [each.name, each.status, each.since === null ? '' : day(each.since), each.role === 'root' ? '' : each.root, `${each.keyAlgorithm}, ${each.key}`, day(each.notAfter), String(each.live), each.subject]);
      return formatTable(['ca', 'status', 'since', 'under', 'key', 'until', 'live', 'subject'], rows);
    });
  } finally {
    await close();
  }
}

/** How a CA is told in JSON. */
export const issuerFacts = ({ name, role, status, since, root, id, certificate }: Issuer) => ({
  name,
  role,
  status,
  // Of a hierarchy that was never changed nobody wrote it down.
  since: since.getTime() === 0 ? null : since,
  root,
  id,
  subject: formatName(certificate.subject),
  serial: certificate.serial,
  thumbprint: certificate.thumbprint,
  notAfter: certificate.notAfter,
  keyAlgorithm: keyAlgorithmOfSpki(certificate.spki),
});

const day = (date: Date): string => date.toISOString().slice(0, 10);
